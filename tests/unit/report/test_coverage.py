# SPDX-License-Identifier: Apache-2.0
"""The objects of `history --coverage --json`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.engine.api import Observed
from geodrop.report.coverage import coverage, read_coverage_of_time
from geodrop.report.pieces import whole
from geodrop.ruleset.enforced import EnforcedService
from geodrop.state.entry import DONE, Entry
from geodrop.state.store import Store
from tests.support.timelines import stretches

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

API = EnforcedService("api", "enforce", None, (), ("BR", "CN"))
ENTRIES = [
    Entry(100.0, "load", DONE, 0, 1, "a", drops=(API,), number=1),
    Entry(
        200.0, "pause", DONE, 0, 2, "a", paused=260, why="INC-123", sudo_user="alice", number=2, previous_generation=1
    ),
    Entry(401.0, "repair", DONE, 0, 3, "a", since=400.5, why="nft (process 5)", number=3),
]


def test_a_line_with_its_gaps() -> None:
    """Each gap has its length, the cause and who made it; a repair names the program that it repaired after."""
    br, cn = coverage(stretches(ENTRIES, 1_100.0, "a"), None)
    assert (br["line"], cn["line"]) == ("BR", "CN")
    assert (cn["seconds"], cn["in_force"], cn["since"]) == (1_000.0, 939.5, "1970-01-01T00:01:40Z")
    pause, drift = cn["gaps"]
    assert pause == {
        "from": "1970-01-01T00:03:20Z",
        "until": "1970-01-01T00:04:20Z",
        "seconds": 60.0,
        "cause": "pause",
        "user": "alice",
        "culprit": None,
        "why": "INC-123",
        "record": 2,
        "generation": 2,
    }
    assert (drift["cause"], drift["user"], drift["culprit"]) == ("drift", None, "nft (process 5)")
    assert drift["seconds"] == 0.5


def test_since_when() -> None:
    """A given moment is the beginning, also before the first record: that time is a gap."""
    found = stretches(ENTRIES, 1_100.0, "a")
    assert coverage(found, 300.0)[0]["seconds"] == 800.0
    first = coverage(found, 50.0)[0]
    assert (first["seconds"], first["gaps"][0]["cause"], first["gaps"][0]["user"]) == (1_050.0, "not recorded", None)
    assert coverage([], None) == []


def test_an_answer_is_bounded() -> None:
    """The longest gaps are listed, in the order of time, and the others are counted."""
    lines = coverage(stretches(ENTRIES, 1_100.0, "a"), None, most=2)
    assert [[gap["cause"] for gap in one["gaps"]] for one in lines] == [["pause"], ["pause"]]
    assert lines[0]["gaps_left_out"] == {"count": 1, "seconds": 0.5}


def test_from_the_files_and_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel holds now decides about the time since the last record; a damaged history is told of."""

    class Kernel:
        def observe(self) -> Observed:
            return Observed()

    monkeypatch.setattr(BothEngines, "here", Kernel)
    for entry in ENTRIES:
        Store(tmp_path).history.append(entry)
    lines, problems = whole(read_coverage_of_time(Config(state=tmp_path), 50.0))
    assert lines[0]["gaps"][-1]["cause"] == "nothing loaded"
    assert lines[0]["seconds"] > time.time() - 100
    path = tmp_path / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b"INC-123", b"INC-124"))
    _, problems = whole(read_coverage_of_time(Config(state=tmp_path)))
    assert "is not as it was written; see: geodrop history --verify" in problems[0]
