# SPDX-License-Identifier: Apache-2.0
"""`geodrop exempt`: let one source pass for a limited time; list who is exempt; end an exemption."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from geodrop import messages, utc
from geodrop.cli.numbers import add_why, duration
from geodrop.columns import Column, row
from geodrop.control.client import ask
from geodrop.errors import UsageError
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COLUMNS = (Column("SOURCE", 20), Column("UNTIL", 27), Column("PACKETS", 16), Column("USER", 10), Column("WHY"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `exempt`."""
    parser.add_argument(
        "source", nargs="?", metavar="ADDRESS", help="an address or prefix as on the wire (default: list all)"
    )
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="TIME",
        help="how long it passes, such as 30m or 2h; at most exempt_max of agent.yaml",
    )
    parser.add_argument("--end", action="store_true", help="end this exemption now")
    add_why(parser, "status and history")
    parser.add_argument("--json", action="store_true", help="with no ADDRESS: print JSON, one object a line")


def run(args: argparse.Namespace) -> int:
    """Exempt, end or list."""
    _check(args)
    if not args.source:
        _show(_listed(args.config), as_json=args.json)
        return 0
    if args.end:
        answer = ask("exempt_end", {"source": args.source, "why": args.why})
    else:
        answer = ask("exempt", {"source": args.source, "seconds": args.duration, "why": args.why})
    text, warnings = (answer["text"], answer["warnings"]) if answer else _without_daemon(args)
    messages.say(shown(text))
    for warning in warnings:
        messages.warning(warning)
    return 0


def _check(args: argparse.Namespace) -> None:
    see = "see geodrop exempt --help"
    if not args.source and (args.duration or args.end or args.why):
        raise UsageError("no address is given", see)
    if args.source and args.json:
        raise UsageError("--json only goes with the list of all", see)
    if args.source and args.end == bool(args.duration):
        raise UsageError("an address needs --for TIME, or --end", see)


def _without_daemon(args: argparse.Namespace) -> tuple[str, Sequence[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.operations.change import by_me  # noqa: PLC0415
    from geodrop.operations.exempt import end, exempt  # noqa: PLC0415
    from geodrop.state.asker import user_of  # noqa: PLC0415
    from geodrop.state.lock import exclusive  # noqa: PLC0415

    config, asked = config_or_assumed(args.config), by_me("exempt", args.why)
    with exclusive():
        if args.end:
            done = end(config, asked, args.source)
        else:
            done = exempt(config, asked, args.source, args.duration, asked.sudo_user or user_of(asked.uid))
        return done.text, done.warnings


def _listed(config_path: str | None) -> list[dict[str, Any]]:
    if answer := ask("exemptions"):
        found: list[dict[str, Any]] = answer["data"]
        return found
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.report.exempt import read_exemptions  # noqa: PLC0415

    return read_exemptions(config_or_assumed(config_path))


def _show(exemptions: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for one in exemptions:
            print(json.dumps(one))
        return
    for one in exemptions:
        messages.say(describe(shown(one), time.time()))
    if not exemptions:
        messages.say("nobody is exempt")


def describe(one: dict[str, Any], now: float) -> str:
    """Describe an exemption in one line for a person; `now` is in seconds since the epoch."""
    until = f"until {utc.soon(datetime.fromisoformat(one['until']).timestamp(), now)}"
    state = f"{one['packets']:,} packets"
    if not one["in_force"]:
        state = "held back" if one["held_back"] else "not in force"
    return row(COLUMNS, (one["source"], until, state, one["user"] or "-", one["why"] or ""))
