# SPDX-License-Identifier: Apache-2.0
"""What `history --verify` and `--coverage` print."""

from __future__ import annotations

from geodrop.cli.audit import covered, verified

GOOD = {
    "file": "/var/lib/geodrop/history.jsonl",
    "records": 812,
    "first": "2026-01-01T00:00:00Z",
    "last": "2026-11-29T00:00:00Z",
    "number": 900,
    "head": "3f2c" * 16,
    "forgotten": {"through": 88, "until": "2025-12-31T00:00:00Z"},
    "cut_before": [412],
    "faults": [],
    "heads": [{"head": "ab" * 6, "number": 700}],
    "next_step": None,
}


def test_a_whole_history() -> None:
    """One line says that it is whole; the head stands at the end, to be written down."""
    assert list(verified(GOOD)) == [
        "whole: 812 records from 2026-01-01T00:00:00Z to 2026-11-29T00:00:00Z, none altered, moved or removed",
        "records up to 88, until 2025-12-31T00:00:00Z, were forgotten, as `keep` says",
        "a line before record 412 was cut off, as by a power cut; what it reported is lost",
        "record 700 has the hash abababababab",
        f"head: record 900, {'3f2c' * 16}",
    ]
    nothing = GOOD | {"records": 0, "head": None, "forgotten": None, "cut_before": [], "heads": []}
    assert list(verified(nothing)) == ["whole: 0 records, none altered, moved or removed"]


def test_a_history_that_was_changed() -> None:
    """Each fault has its place, and the last line says what to do."""
    faults = [{"line": 12, "what": "altered: the next line names another hash of it"}]
    heads = [{"head": "ab" * 6, "number": None}]
    lines = list(verified(GOOD | {"faults": faults, "heads": heads, "next_step": "compare"}))
    assert lines[0] == "/var/lib/geodrop/history.jsonl:12: altered: the next line names another hash of it"
    assert "no record has the hash abababababab: records were altered or removed since, or it was forgotten" in lines
    assert lines[-1] == "next: compare"


def gap(number: int = 0) -> dict[str, object]:
    """Return a gap."""
    return {
        "from": f"2026-03-02T02:{number:02}:11Z",
        "seconds": 7_200.0,
        "cause": "pause",
        "user": "alice",
        "culprit": None,
        "why": "INC-123",
    }


def test_a_line_of_the_policy() -> None:
    """One gap stands on the line itself, several below it, and of very many the rest is summed up."""
    one = {
        "service": "api",
        "line": "BR",
        "in_force": 28_612_800.0,
        "seconds": 28_684_800.0,
        "gaps": [gap()],
        "gaps_left_out": {"count": 0, "seconds": 0},
    }
    [line] = covered(one)
    assert line.startswith("api  BR  ")
    assert line.endswith(" 331 d 4 h of 332 d 0 h   gap 2026-03-02 02:00:11Z +2 h 0 min  pause, alice, INC-123")
    many = covered(one | {"gaps": [gap(number) for number in range(30)], "gaps_left_out": {"count": 5, "seconds": 60}})
    assert len(many) == 22
    assert many[-1] == "  15 more gaps, 20 h 1 min"
    assert len(covered(one | {"gaps": []})) == 1
