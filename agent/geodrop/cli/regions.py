# SPDX-License-Identifier: Apache-2.0
"""`geodrop regions`: the territories and groups that a policy can name, with their codes and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.cli.options import add_databases
from geodrop.compile import sandbox
from geodrop.errors import UsageError
from geodrop.policy.atlas import ATLAS, nearest

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `regions`."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="one of them, such as territory:crimea, crimea or eu (default: all)"
    )
    add_databases(parser, "a GeoIP database, for the sizes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Have a child read the databases, if there are any, and print the atlas."""
    name = None if args.name is None else _text(args.name)
    databases = args.database or _databases(args.config)
    options = {"name": name, "json": args.json}
    return sandbox.run(sandbox.Job("regions", databases=databases, options=options))


def _text(name: str) -> str:
    """Return the name as a policy writes it. Raises UsageError."""
    for text in (name, f"territory:{name}", f"atlas:{name}"):
        if text in ATLAS:
            return text
    raise UsageError(f"{name!r} is not in the atlas", nearest(name))


def _databases(config: str | None) -> tuple[str, ...]:
    from geodrop.config import load_config  # noqa: PLC0415 - only what is not given needs it

    source = load_config(config).source
    return source.databases if source else ()
