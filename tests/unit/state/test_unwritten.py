# SPDX-License-Identifier: Apache-2.0
"""Data that could not be written, until it can be."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ApplyError
from geodrop.state import unwritten
from geodrop.state.unwritten import NOTHING, Unwritten

if TYPE_CHECKING:
    from pathlib import Path

FULL = ApplyError("/s/intent.json: No space left on device", "make room")
FULL.__cause__ = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def held(tmp_path: Path) -> Unwritten:
    """Return the unwritten data of a state directory of its own."""
    return Unwritten(tmp_path)


def test_nothing_is_unwritten(held: Unwritten) -> None:
    """Without unwritten data there are no warnings, and marking it as written changes nothing."""
    held.done(intent=True, lines=True)
    held.ahead({"generation": 1})
    assert held.read() is NOTHING
    assert held.warnings() == []


def test_another_process_knows(held: Unwritten, tmp_path: Path) -> None:
    """Another process sees the newest intent, all lines in order and the next step, for this state directory only."""
    held.hold(FULL, intent={"generation": 1}, line="first")
    held.hold(FULL, line="second")
    held.ahead({"generation": 2})
    found = Unwritten(tmp_path).read()
    assert (found.intent, found.lines, found.in_memory) == ({"generation": 2}, ("first", "second"), False)
    [warning] = held.warnings()
    assert "No space left on device; what was asked for last will be known until the next boot" in warning
    assert warning.endswith(": make room there")
    assert Unwritten(tmp_path / "other").read() is NOTHING
    held.done(intent=True)
    assert "2 lines of the history" in held.warnings()[0]
    held.done(lines=True)
    assert Unwritten(tmp_path).read() is NOTHING


def test_where_nothing_can_be_written_the_process_remembers(held: Unwritten, monkeypatch: pytest.MonkeyPatch) -> None:
    """If /run cannot be written, only this process knows, and the warning says so; later it is written to /run."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        held.hold(FULL, intent={"generation": 1})
    assert held.read().intent == {"generation": 1}
    assert "until this process ends and no longer" in held.warnings()[0]
    held.hold(FULL, line="first")
    assert not held.read().in_memory
    assert held.read().intent == {"generation": 1}
    held.done(intent=True, lines=True)


def test_what_cannot_be_removed_is_not_taken_for_newer(held: Unwritten, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the data is written to the state directory, a file in /run that cannot be removed is ignored."""
    held.hold(FULL, intent={"generation": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
        held.done(intent=True)
    assert held.read() is NOTHING
    assert held.intent() is None
    held.hold(FULL, intent={"generation": 2})
    held.done(intent=True)
    assert held.read() is NOTHING


def test_lines_are_bounded(held: Unwritten, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest lines are lost, and the warning counts them."""
    monkeypatch.setattr(unwritten, "MAX_LINES", 50)
    for number in range(10):
        held.hold(FULL, line=f"{number}" * 10)
    assert held.read().lines == tuple(f"{number}" * 10 for number in range(5, 10))
    assert "; 5 lines of the history are lost" in held.warnings()[0]
    held.done(lines=True)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_damaged_file_says_nothing(held: Unwritten, run_folder: Path, content: bytes) -> None:
    """A damaged file is ignored, and the state directory is read."""
    before = set(run_folder.iterdir())
    held.hold(FULL, intent={"generation": 1})
    [path] = set(run_folder.iterdir()) - before
    path.write_bytes(content)
    assert held.read() is NOTHING
    path.unlink()
    path.symlink_to("/dev/zero")
    assert held.read() is NOTHING
    path.unlink()


def test_one_that_cannot_be_read_is_no_answer(held: Unwritten, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the file cannot be read, asking for the intent raises, so that no older intent is used instead."""
    held.hold(FULL, intent={"generation": 1})

    def none_left(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none_left)
        with pytest.raises(OSError, match="Too many open files"):
            held.intent()
        assert held.read() is NOTHING
    held.done(intent=True)
