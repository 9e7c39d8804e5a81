# SPDX-License-Identifier: Apache-2.0
"""`geodrop verify`: compare the kernel with the ruleset it should hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.control.client import ask
from geodrop.errors import ApplyError
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `verify`."""
    parser.add_argument(
        "--full",
        action="store_true",
        help="compare every interval (default: all rules, and a random sample of intervals)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Return 0: they agree; 1: they differ, each difference on a line; 3: nothing in force."""
    answer = ask("verify", {"full": args.full})
    found = answer["data"] if answer else _without_daemon(args.config, full=args.full)
    if args.json:
        print(json.dumps(found))
    else:
        messages.say(describe(found))
    return 0 if found["agrees"] else ApplyError.exit_code


def describe(found: dict[str, Any]) -> str:
    """Describe the result for a person: each difference on a line, or how much was compared."""
    found = shown(found)
    if not found["agrees"]:
        return "\n".join(
            f"{one['where']}: expected {one['expected']}, found {one['found']}" for one in found["differences"]
        )
    what = "in full" if found["sample"] is None else f"in all rules and a sample of {found['sample']:,} boundaries"
    return f"the kernel matches ruleset {found['digest'][:12]}, generation {found['generation']}, {what}"


def _without_daemon(config_path: str | None, *, full: bool) -> dict[str, Any]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.report.pieces import whole  # noqa: PLC0415
    from geodrop.report.verify import read_verify  # noqa: PLC0415

    return whole(read_verify(config_or_assumed(config_path), full=full))
