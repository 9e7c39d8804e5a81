# SPDX-License-Identifier: Apache-2.0
"""What could not be written is written as soon as that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from geodrop.config import Config
from geodrop.daemon.writeback import WriteBack
from geodrop.errors import ApplyError
from geodrop.state.intent import FOREVER, Intent
from geodrop.state.store import Store
from tests.support.daemons import daemon_context

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_is_told_once_and_written_once_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log records the beginning and the end, the status all the time between."""
    store = Store(tmp_path / "state")
    store.remember(Intent(1, "d1"))
    with capture_logs() as logged:
        tested = WriteBack(daemon_context(Config(state=store.folder)))
        tested.once()
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise ApplyError("intent.json: No space left on device", "make room")

            patch.setattr("geodrop.state.files.replace", full)
            store.note(Intent(2, "d1", paused=FOREVER))
            for _ in range(3):
                tested.once()
                assert store.problems()
        tested.once()
        tested.once()
    assert [one["log_level"] for one in logged] == ["error", "info"]
    assert store.unwritten() == ()
    assert Store(store.folder).intent() == Intent(2, "d1", paused=FOREVER)
