# SPDX-License-Identifier: Apache-2.0
"""`geodrop export`: write a ruleset for stock tools, from its file alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.errors import UsageError
from geodrop.nftables import export as nftables
from geodrop.nftables.text import is_interface
from geodrop.ruleset import export as lists
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.prefixes import hidden

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from geodrop.ruleset.model import ServiceSpec

FORMATS = ("nft", "cidr", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.add_argument("ruleset", metavar="FILE", help="a ruleset made by `geodrop compile`")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="nft: a table for `nft -f`, with the same verdicts; cidr: what a service denies, a prefix a line; "
        "json: one object with all services",
    )
    parser.add_argument(
        "--interface",
        action="append",
        default=[],
        metavar="NAME",
        help="nft: judge packets that arrive here; may be repeated, may end in * (default: all but loopback)",
    )
    parser.add_argument("--service", metavar="NAME", help="cidr and json: this service (cidr needs it if several)")


def run(args: argparse.Namespace) -> int:
    """Write the ruleset to stdout, in pieces."""
    if args.interface and args.format != "nft":
        raise UsageError(f"--interface has no meaning with --format {args.format}", "leave it out")
    for name in args.interface:
        if not is_interface(name):
            raise UsageError(
                f"--interface {name!r} cannot be the name of an interface in nft text",
                "use letters, digits and _.:@- with at most one * at the end",
            )
    ruleset = Ruleset.open(args.ruleset)
    for piece in _pieces(args, ruleset):
        sys.stdout.write(piece)
    return 0


def _pieces(args: argparse.Namespace, ruleset: Ruleset) -> Iterator[str]:
    if args.format == "nft":
        if args.service:
            raise UsageError(
                "--service has no meaning with --format nft", "leave it out: services depend on each other"
            )
        return nftables.nft(ruleset, args.interface)
    services = _chosen(ruleset, args.service)
    if args.format == "cidr" and len(services) > 1:
        names = ", ".join(service.name for service in services)
        raise UsageError(f"there are several services: {names}", "choose one with --service")
    for service in services:
        if hidden(ruleset, service):
            messages.warning(
                f"service {service.name} denies Teredo clients ({lists.TEREDO}) by the IPv4 address at the end, which "
                "no prefix can say; --format nft can"
            )
    return lists.cidr(ruleset, services[0]) if args.format == "cidr" else lists.as_json(ruleset, services)


def _chosen(ruleset: Ruleset, name: str | None) -> list[ServiceSpec]:
    services = [service for service in ruleset.meta.services if name in {None, service.name}]
    if not services:
        known = ", ".join(service.name for service in ruleset.meta.services)
        raise UsageError(f"there is no service {name}", f"this ruleset has: {known}")
    return services
