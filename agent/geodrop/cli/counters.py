"""`geodrop counters`: what was dropped, by service, family and region."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from geodrop.dataplane.engines import Engines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from geodrop.dataplane.engine import Count

SCHEMA = 1
WATCH_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `counters`."""
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    parser.add_argument("--watch", action="store_true", help="go on: every two seconds print what has changed")


def run(args: argparse.Namespace) -> int:
    """Print the totals since the first load, once or until interrupted."""
    engine = Engines.here()
    counts = engine.counters()
    show(counts, as_json=args.json)
    while args.watch:
        time.sleep(WATCH_SECONDS)
        before, counts = counts, engine.counters()
        seen = set(before)
        show([count for count in counts if count not in seen], as_json=args.json)
    return 0


def show(counts: Sequence[Count], *, as_json: bool) -> None:
    """Print counts, busiest first for a person."""
    if as_json:
        for count in counts:
            print(json.dumps(as_object(count)), flush=True)
        return
    print(f"{'SERVICE':<14}{'FAMILY':<8}{'REGION':<18}{'PACKETS':>12}{'BYTES':>14}  WHAT")
    lines = [
        (packets, size, count, what)
        for count in counts
        for what in ("dropped", "would_drop", "accepted", "never_drop")
        for packets, size in [getattr(count, what)]
        if packets
    ]
    for packets, size, count, what in sorted(lines, key=lambda line: -line[0]):
        print(
            f"{count.service:<14}{count.family:<8}{count.label or '-':<18}{packets:>12,}{size:>14,}  "
            f"{what.replace('_', ' ')}",
            flush=True,
        )


def as_object(count: Count) -> dict[str, Any]:
    """One object of `counters --json`: by class with dropped and would_drop, or one of accepted and never_drop."""
    shared = {"schema": SCHEMA, "service": count.service, "family": count.family}
    if count.label is None:
        return {**shared, "accepted": _amount(count.accepted), "never_drop": _amount(count.never_drop)}
    return {
        **shared,
        kind_of(count.label): count.label.removeprefix("list:"),
        "dropped": _amount(count.dropped),
        "would_drop": _amount(count.would_drop),
    }


def kind_of(label: str) -> str:
    """Whether a label names a list, an inline prefix or a region."""
    if label.startswith("list:"):
        return "list"
    return "prefix" if "." in label or label.count(":") > 1 else "region"


def _amount(pair: tuple[int, int]) -> dict[str, int]:
    return {"packets": pair[0], "bytes": pair[1]}
