# SPDX-License-Identifier: Apache-2.0
"""`geodrop history`: what was in force when, by whom, and what failed; whether that is whole, and what it proves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.cli.numbers import digest, moment, positive
from geodrop.columns import Column, heading, row
from geodrop.control.client import ask
from geodrop.errors import ApplyError, UsageError
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config

SHOWN = 20
MANY = 1 << 30
"""All entries, or as many as a daemon answers at once."""
COLUMNS = (
    Column("TIME", 22),
    Column("WHAT", 10),
    Column("GENERATION", 12),
    Column("RULESET", 14),
    Column("UID", 7),
    Column("TOOK", 8, ">"),
    Column("  MORE"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `history`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "-n", dest="count", type=positive, metavar="N", help=f"the last N (default: {SHOWN}; with --json all)"
    )
    what.add_argument(
        "--verify", action="store_true", help="check that no record was altered, moved or removed since it was written"
    )
    what.add_argument(
        "--coverage", action="store_true", help="for how long each line of the policy was in force, and each gap"
    )
    parser.add_argument(
        "--head",
        action="append",
        type=digest,
        default=[],
        metavar="HASH",
        help="with --verify: a record with this hash, as the journal has it, must be there; may be repeated",
    )
    parser.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="with --coverage: from this day or time on, such as 2024-07-09 (default: from the first record)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line; with --verify one object")


def run(args: argparse.Namespace) -> int:
    """Print the entries, newest first, or what they prove. --verify returns 1 if something is wrong."""
    if (args.head and not args.verify) or (args.since is not None and not args.coverage):
        raise UsageError("--head goes with --verify, and --since with --coverage", "see geodrop history --help")
    if args.verify:
        return _verify(args)
    if args.coverage:
        return _coverage(args)
    count = args.count or (MANY if args.json else SHOWN)
    answer = ask("history", {"count": count})
    objects, problems = answer["data"].values() if answer else _without_daemon(args.config, count)
    for problem in problems:
        messages.warning(problem)
    if args.json:
        for one in objects:
            print(json.dumps(one))
    elif objects:
        messages.say(heading(COLUMNS))
        for one in objects:
            messages.say(describe(one))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from geodrop.cli import audit  # noqa: PLC0415 - most calls need it not

    answer = ask("history_verify", {"heads": args.head})
    found = answer["data"] if answer else audit.verify_without_daemon(_config(args.config), args.head)
    if args.json:
        print(json.dumps(found))
    else:
        for line in audit.verified(shown(found)):
            messages.say(line)
    return 0 if found["good"] else ApplyError.exit_code


def _coverage(args: argparse.Namespace) -> int:
    from geodrop.cli import audit  # noqa: PLC0415 - as above

    answer = ask("history_coverage", {"since": args.since})
    if answer:
        lines, problems = answer["data"]["lines"], answer["data"]["problems"]
    else:
        lines, problems = audit.coverage_without_daemon(_config(args.config), args.since)
    for problem in problems:
        messages.warning(problem)
    for one in lines:
        if args.json:
            print(json.dumps(one))
        else:
            messages.say("\n".join(audit.covered(shown(one))))
    return 0


def _without_daemon(config_path: str | None, count: int) -> tuple[list[dict[str, Any]], list[str]]:
    from geodrop.report.history import read_history  # noqa: PLC0415
    from geodrop.report.pieces import whole  # noqa: PLC0415

    return whole(read_history(_config(config_path), count))


def _config(path: str | None) -> Config:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py

    return config_or_assumed(path)


def describe(one: dict[str, Any]) -> str:
    """Describe an entry in one line for a person."""
    one = shown(one)
    failed = one["outcome"] != "done"
    more = [
        f"{one['outcome']}: {one['error']}" if failed else "",
        f"back to generation {one['target']}" if one["target"] and not failed else "",
        _end_of_pause(one) if not failed else "",
        f"to be confirmed until {one['confirm']}" if one["confirm"] and not failed else "",
        one["change"] or "",
        one["why"] or "",
        f"accepted beyond the limits: {one['accept']}" if one["accept"] else "",
        f"signed by {one['signed_by']} ({one['signed_key']})" if one.get("signed_by") else "",
        f"asked for by {one['sudo_user']} (sudo)" if one["sudo_user"] else "",
        f"in force until {one['until']}" if one["until"] else "",
    ]
    cells = (
        one["time"],
        one["origin"],
        str(one["generation"] or "-"),
        (one["digest"] or "-")[:12],
        str(one["uid"]),
        f"{one['seconds']:.2f} s",
        f"  {'; '.join(filter(None, more))}",
    )
    line = row(COLUMNS, cells)
    return messages.paint(line, messages.RED) if failed else line


def _end_of_pause(one: dict[str, Any]) -> str:
    if one["origin"] != "pause":
        return ""
    return f"until {one['paused_until'] or 'resume'}"
