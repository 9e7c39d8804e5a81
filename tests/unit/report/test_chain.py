# SPDX-License-Identifier: Apache-2.0
"""The object of `history --verify --json`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.errors import DataError
from geodrop.report import chain as module
from geodrop.report.chain import read_chain
from geodrop.report.pieces import whole
from geodrop.state.entry import DONE, Entry
from geodrop.state.intent import Intent
from geodrop.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with a history of three records."""
    for number in range(1, 4):
        Store(tmp_path).history.append(Entry(60.0 * number, "load", DONE, 0, number, f"d{number}"))
    return Config(state=tmp_path)


def test_a_whole_history(config: Config) -> None:
    """It has no faults, and names its head."""
    found = whole(read_chain(config))
    head = found.pop("head")
    assert len(head) == 64
    assert found == {
        "schema": 1,
        "good": True,
        "file": str(config.state / "history.jsonl"),
        "records": 3,
        "first": "1970-01-01T00:01:00Z",
        "last": "1970-01-01T00:03:00Z",
        "number": 3,
        "forgotten": None,
        "cut_before": [],
        "faults": [],
        "heads": [],
        "next_step": None,
    }
    assert whole(read_chain(config, [head[:12]]))["heads"] == [{"head": head[:12], "number": 3}]


def test_a_hash_that_is_not_there(config: Config) -> None:
    """A record that the journal has and the history lacks is a fault of the history."""
    found = whole(read_chain(config, ["0" * 64]))
    assert (found["good"], found["faults"], found["heads"][0]["number"]) == (False, [], None)
    assert "journalctl" in found["next_step"]


def test_what_is_missing(config: Config) -> None:
    """A removed file is noticed by the intent; a host that never had a generation in force has no history."""
    Store(config.state).remember(Intent(generation=3, digest="d3"))
    (config.state / "history.jsonl").unlink()
    [fault] = whole(read_chain(config))["faults"]
    assert fault["what"] == "is missing, although generations were put in force"
    (config.state / "intent.json").unlink()
    found = whole(read_chain(config))
    assert (found["good"], found["first"], found["head"]) == (True, None, None)


def test_a_line_that_is_being_written(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that meets half a line reads again, once the file has grown."""
    path = config.state / "history.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    sizes = module._size

    def grows(history: object) -> tuple[int, int]:
        found = sizes(history)  # type: ignore[arg-type]
        path.write_bytes(content)
        return found

    monkeypatch.setattr(module, "_size", grows)
    assert whole(read_chain(config))["good"]


def test_what_cannot_be_read(config: Config) -> None:
    """A history that is no file is bad data, with the next step."""
    os.unlink(config.state / "history.jsonl")
    (config.state / "history.jsonl").mkdir()
    with pytest.raises(DataError, match=r"history\.jsonl"):
        whole(read_chain(config))
