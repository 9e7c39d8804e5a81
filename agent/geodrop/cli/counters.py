# SPDX-License-Identifier: Apache-2.0
"""`geodrop counters`: what was dropped, by service, family and region."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.columns import Column, heading, row
from geodrop.control.client import ask
from geodrop.ruleset.meta import OTHER_LABEL
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

WATCH_SECONDS = 2.0
NAMED = (Column("SERVICE", 12), Column("FAMILY", 7))
TOTALS = (*NAMED, Column("REGION", 18), Column("PACKETS", 12, ">"), Column("BYTES", 15, ">"), Column("  WHAT"))
RATES = (
    *NAMED,
    Column("REGION", 14),
    Column("PACKETS/S", 10, ">"),
    Column("BYTES/S", 12, ">"),
    Column("PACKETS", 13, ">"),
    Column("  WHAT"),
)
WHAT = ("dropped", "would_drop", "accepted", "never_drop", "exempted")
KINDS = ("region", "list", "prefix")
"""The kinds of counter classes; each is the key under which an object names its class."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `counters`."""
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument(
        "--watch", action="store_true", help="go on: every two seconds what has changed, and how much a second"
    )


def run(args: argparse.Namespace) -> int:
    """Print the totals since the first load, once or until interrupted."""
    counts = read()
    if not args.watch:
        show(counts, as_json=args.json)
        if not args.json and any(count.get("region") == OTHER_LABEL for count in counts):
            messages.say("other: regions that nftables does not tell apart, xdp would; see: geodrop status", flush=True)
        return 0
    taken = time.monotonic()
    if not args.json:
        messages.say(heading(RATES), flush=True)
    while True:
        time.sleep(WATCH_SECONDS)
        before, counts, since, taken = counts, read(), taken, time.monotonic()
        show_rates(before, counts, taken - since, as_json=args.json)


def read() -> list[dict[str, Any]]:
    """Return the objects of `counters --json`."""
    if answer := ask("counters"):
        found: list[dict[str, Any]] = answer["data"]
        return found
    from geodrop.report.counters import read_counters  # noqa: PLC0415 - see cli/status.py

    return read_counters()


def show(counts: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print totals; for a person, busiest first."""
    if as_json:
        for count in counts:
            print(json.dumps(count), flush=True)
        return
    messages.say(heading(TOTALS))
    for count, what in _busiest(shown(counts), "packets"):
        amounts = (f"{count[what][unit]:,}" for unit in ("packets", "bytes"))
        messages.say(row(TOTALS, (*_named(count), *amounts, _word(what))), flush=True)


def show_rates(
    before: Sequence[dict[str, Any]], counts: Sequence[dict[str, Any]], seconds: float, *, as_json: bool
) -> None:
    """Print what has changed in `seconds`, with the rate a second; for a person, busiest first."""
    known = {_key(count): count for count in before}
    changed = [_with_rates(count, known.get(_key(count), {}), seconds) for count in counts if count not in before]
    if as_json:
        for count in changed:
            print(json.dumps(count), flush=True)
        return
    for count, what in _busiest(shown(changed), "packets_per_second"):
        amounts = (f"{count[what][unit]:,.0f}" for unit in ("packets_per_second", "bytes_per_second", "packets"))
        messages.say(row(RATES, (*_named(count), *amounts, _word(what))))
    messages.say("", flush=True)


def _busiest(counts: Sequence[dict[str, Any]], by: str) -> list[tuple[dict[str, Any], str]]:
    """Return each count with each of its amounts that is not zero, in descending order."""
    found = [(count, what) for count in counts for what in WHAT if count.get(what) and count[what][by]]
    return sorted(found, key=lambda one: -one[0][one[1]][by])


def _with_rates(count: dict[str, Any], before: dict[str, Any], seconds: float) -> dict[str, Any]:
    made = dict(count)
    for what in WHAT:
        if amount := count.get(what):
            # Counters that another program removed start again at zero.
            old = before.get(what, {})
            rates = {
                f"{unit}_per_second": round(max(total - old.get(unit, 0), 0) / seconds, 1)
                for unit, total in amount.items()
            }
            made[what] = {**amount, **rates}
    return made


def _key(count: dict[str, Any]) -> tuple[Any, ...]:
    return count["service"], count["family"], label(count)


def _named(count: dict[str, Any]) -> tuple[str, str, str]:
    return str(count["service"] or "-"), str(count["family"] or "-"), label(count)


def _word(what: str) -> str:
    return f"  {what.replace('_', ' ')}"


def label(count: dict[str, Any]) -> str:
    """Return the name of a class; `-` for the line of a whole service and family."""
    if "what" in count:
        return str(count["what"])
    kind = next((kind for kind in KINDS if kind in count), None)
    return "-" if kind is None else f"list:{count[kind]}" if kind == "list" else str(count[kind])
