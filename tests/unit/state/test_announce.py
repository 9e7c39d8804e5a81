# SPDX-License-Identifier: Apache-2.0
"""Each record is told of, with the hash that proves all before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.linux import journal
from geodrop.state import announce as module
from geodrop.state.announce import EVENT, Announcement, announce, to_journal
from geodrop.state.entry import DONE, Entry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_command_tells_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sends number and hash to the journal, on the machine itself; in another namespace it sends nothing."""
    sent: list[dict[str, str]] = []
    monkeypatch.setattr(journal, "send", sent.append)
    made = Announcement(tmp_path, "ab" * 32, Entry(1.0, "load", DONE, 0, 7, "d7", sudo_user="alice", number=12))
    monkeypatch.setattr(module, "is_machines_own", lambda: False)
    to_journal(made)
    assert sent == []
    monkeypatch.setattr(module, "is_machines_own", lambda: True)
    to_journal(made)
    [fields] = sent
    assert fields["MESSAGE"] == f"record 12: load done, by alice (sudo); head {'ab' * 32}"
    assert (fields["GEODROP_EVENT"], fields["GEODROP_NUMBER"]) == ("recorded", "12")
    assert (fields["GEODROP_HEAD"], fields["GEODROP_STATE"]) == ("ab" * 32, str(tmp_path))


def test_a_daemon_tells_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who listens gets each record, and the journal gets none from here."""
    heard: list[Announcement] = []
    monkeypatch.setattr(module, "_listener", to_journal)
    module.listen(heard.append)
    made = Announcement(tmp_path, "ab" * 32, Entry(1.0, "pause", DONE, 7, number=1))
    announce(made)
    assert heard == [made]
    assert made.text == "record 1: pause done, by uid 7"


def test_a_log_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk under the log fails no change."""

    def full(_: Announcement) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_listener", full)
    announce(Announcement(tmp_path, "ab" * 32, Entry(1.0, "pause", DONE, 7, number=1)))


def test_one_word_for_both() -> None:
    """Command and daemon write the same word into the journal."""
    assert Event.RECORDED == EVENT
