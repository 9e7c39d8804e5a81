"""`geodrop history`: what was in force when, by whom, and what failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.cli.numbers import positive
from geodrop.columns import Column, heading, row
from geodrop.control.client import ask
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse

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
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument(
        "-n", dest="count", type=positive, metavar="N", help=f"the last N (default: {SHOWN}; with --json all)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the entries, newest first."""
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


def _without_daemon(config_path: str | None, count: int) -> tuple[list[dict[str, Any]], list[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.report.history import read_history  # noqa: PLC0415
    from geodrop.report.pieces import whole  # noqa: PLC0415

    return whole(read_history(config_or_assumed(config_path), count))


def describe(one: dict[str, Any]) -> str:
    """Describe an entry in one line for a person."""
    one = shown(one)
    failed = one["outcome"] != "done"
    more = [
        f"failed: {one['error']}" if failed else "",
        f"back to generation {one['target']}" if one["target"] and not failed else "",
        _end_of_pause(one) if not failed else "",
        f"to be confirmed until {one['confirm']}" if one["confirm"] and not failed else "",
        one["change"] or "",
        one["why"] or "",
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
