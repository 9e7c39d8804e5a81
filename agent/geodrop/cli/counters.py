"""`geodrop counters`: what was dropped, by service, family and region."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.control.client import ask
from geodrop.ruleset.meta import OTHER_LABEL
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

WATCH_SECONDS = 2.0
KINDS = ("region", "list", "prefix")
"""What a counter class can be; the key under which its object names it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `counters`."""
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument("--watch", action="store_true", help="go on: every two seconds print what has changed")


def run(args: argparse.Namespace) -> int:
    """Print the totals since the first load, once or until interrupted."""
    counts = read()
    show(counts, as_json=args.json)
    if not args.json and any(count.get("region") == OTHER_LABEL for count in counts):
        messages.say("other: regions that nftables does not tell apart, xdp would; see: geodrop status", flush=True)
    while args.watch:
        time.sleep(WATCH_SECONDS)
        before, counts = counts, read()
        show([count for count in counts if count not in before], as_json=args.json)
    return 0


def read() -> list[dict[str, Any]]:
    """The objects of `counters --json`."""
    if answer := ask("counters"):
        found: list[dict[str, Any]] = answer["data"]
        return found
    from geodrop.report.counters import read_counters  # noqa: PLC0415 - see cli/status.py

    return read_counters()


def show(counts: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print counts, busiest first for a person."""
    if as_json:
        for count in counts:
            print(json.dumps(count), flush=True)
        return
    messages.say(f"{'SERVICE':<14}{'FAMILY':<8}{'REGION':<18}{'PACKETS':>12}{'BYTES':>14}  WHAT")
    lines = [
        (amount["packets"], amount["bytes"], count, what)
        for count in shown(counts)
        for what in ("dropped", "would_drop", "accepted", "never_drop")
        if (amount := count.get(what)) and amount["packets"]
    ]
    for packets, size, count, what in sorted(lines, key=lambda line: -line[0]):
        messages.say(
            f"{count['service'] or '-':<14}{count['family'] or '-':<8}{label(count):<18}{packets:>12,}{size:>14,}  "
            f"{what.replace('_', ' ')}",
            flush=True,
        )


def label(count: dict[str, Any]) -> str:
    """What a class is called; `-` for the line of a whole service and family."""
    if "what" in count:
        return str(count["what"])
    kind = next((kind for kind in KINDS if kind in count), None)
    return "-" if kind is None else f"list:{count[kind]}" if kind == "list" else str(count[kind])
