# SPDX-License-Identifier: Apache-2.0
"""The text for people: few lines, exact words, nothing that controls a terminal."""

from __future__ import annotations

from typing import Any

from geodrop.simulate.report import told


def part(count: int) -> dict[str, Any]:
    """Return the totals of some dropped requests."""
    one = {"clients": count, "requests": 10 * count}
    return {
        "dropped": {"requests": 10 * count, "clients": count, "share": count / 1000},
        "regions": [{"region": "BR", **one}] if count else [],
        "networks": [{"network": "200.147.0.0/16", **one}] if count else [],
        "hours": [{"hour": None, **one}] if count else [],
    }


def answer(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of the object
    """Return an object of `simulate --json`."""
    unreadable = {"count": 12, "first_file": "-", "first_line": 88_123, "first_text": "\x1b[2J"}
    return {"requests": 10_000, "clients": 91, "exact": True, "unreadable": unreadable, **part(8), **more}


def test_summary_and_tables() -> None:
    """Two lines say it all; the tables follow."""
    found = list(told(answer()))
    assert found[:2] == [
        "10,000 requests, 91 clients; 12 lines unreadable (first: line 88,123: \\x1b[2J)",
        "would drop 0.8% of requests, 8 clients: BR 8     most: 200.147.0.0/16 8 clients",
    ]
    assert [line.split()[:3] for line in found if "CLIENTS" in line] == [
        ["DROPPED", "BY", word] for word in ("REGION", "NETWORK", "HOUR")
    ]
    assert found[-1].split() == ["no", "time", "8", "80"]


def test_against_and_inexact() -> None:
    """Against a ruleset there is a line for each direction; a bound that was reached is told."""
    lines = list(told(answer(exact=False, newly_dropped=part(0), no_longer_dropped=part(2))))
    assert lines[0].startswith("10,000 requests, at least 91 clients")
    assert lines[1:3] == [
        "would newly drop nothing",
        "would no longer drop 0.2% of requests, at least 2 clients: BR 2     most: 200.147.0.0/16 2 clients",
    ]
