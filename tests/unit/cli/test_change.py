# SPDX-License-Identifier: Apache-2.0
"""A change by the daemon or without one: both say the same to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import geodrop.cli.change
import geodrop.cli.glass
import geodrop.operations.regions
from geodrop.cli.change import change
from geodrop.config import Config
from geodrop.engine.api import Observed
from geodrop.errors import BusyError
from geodrop.operations.outcome import Outcome
from geodrop.state import lock

if TYPE_CHECKING:
    from pathlib import Path

ARGUMENTS = {"why": "CASE-7"}


def never(_: Config) -> Outcome:
    """Fail: the daemon does it."""
    raise AssertionError("a daemon runs")


def test_by_the_daemon(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its text and warnings are printed, without control characters; nothing is done in this process."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append((verb, arguments))
        return {"text": "paused\x1b[2J", "warnings": ["the disk is full"]}

    monkeypatch.setattr(geodrop.cli.change, "ask", ask)
    assert change("pause", ARGUMENTS, None, never) == 0
    assert asked == [("pause", ARGUMENTS)]
    said = capsys.readouterr()
    assert "paused" in said.out
    assert "\x1b" not in said.out
    assert "the disk is full" in said.err


def test_without_a_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is done here, under the lock, with the configuration; its warnings and those of regions are printed."""
    config = Config(engine="nftables", interfaces=("lo",), state=tmp_path)
    monkeypatch.setattr(lock, "lock_file", lambda: str(tmp_path / "run" / "lock"))
    monkeypatch.setattr(lock, "daemon_file", lambda: str(tmp_path / "run" / "daemon"))
    monkeypatch.setattr(geodrop.cli.change, "ask", lambda *_: None)
    monkeypatch.setattr(geodrop.cli.glass, "load_config_or_assume", lambda _: (config, ""))
    monkeypatch.setattr(geodrop.operations.regions, "warnings_of_regions", lambda _: ("not split",))

    def here(given: Config) -> Outcome:
        assert given is config
        with pytest.raises(BusyError), lock.exclusive():
            raise AssertionError("the lock is held")
        return Outcome(Observed(), Observed(), text="paused", warnings=("the disk is full",))

    assert change("pause", ARGUMENTS, None, here) == 0
    said = capsys.readouterr()
    assert said.out == "paused\n"
    assert [part in said.err for part in ("the disk is full", "not split")] == [True, True]
