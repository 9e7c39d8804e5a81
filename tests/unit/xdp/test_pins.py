# SPDX-License-Identifier: Apache-2.0
"""Pins must be in a bpffs, in a folder of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp.pins import BPFFS_MAGIC, Pins, version_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_is_no_bpffs_is_refused(tmp_path: Path) -> None:
    """The error names the folder, and the command that mounts a bpffs."""
    with pytest.raises(UnavailableError, match=r"is no bpffs.*mount -t bpf"):
        Pins(tmp_path / "geodrop").check()


def test_sets_are_numbered_and_say_their_version(tmp_path: Path) -> None:
    """The newest set comes first; other names are ignored."""
    pins = Pins(tmp_path / "geodrop")
    assert pins.sets() == []
    pins.make()
    made = [pins.new_set("aa11"), pins.new_set("bb22")]
    (pins.folder / "something").mkdir()
    assert pins.sets() == made[::-1]
    assert [version_of(path) for path in pins.sets()] == ["bb22", "aa11"]
    assert oct(pins.folder.stat().st_mode)[-3:] == "700"


def test_removing_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """The folder is removed once nothing else is in it."""
    pins = Pins(tmp_path / "geodrop")
    pins.make()
    pins.new_set("aa11")
    pins.remove()
    assert not pins.folder.exists()


def test_garbage_is_passed_over_and_never_removed(tmp_path: Path) -> None:
    """Foreign names are not read; unloading removes what is ours and names what is in the way."""
    pins = Pins(tmp_path / "geodrop")
    pins.make()
    (pins.links / "eth0").touch()
    (pins.links / "7").touch()
    made = pins.new_set("aa11")
    (made / "folder").mkdir()
    assert pins.link_indexes() == [7]
    with pytest.raises(UnavailableError, match="folder cannot be removed"):
        pins.remove()
    assert pins.link_indexes() == []
    (made / "folder").rmdir()
    with pytest.raises(UnavailableError, match="links cannot be removed"):
        pins.remove()
    assert (pins.links / "eth0").exists()


@pytest.mark.root
def test_something_else_in_the_folders_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the folder's name holds no pins; it is refused, and so is a folder of another user."""
    pins = Pins(tmp_path / "geodrop")
    monkeypatch.setattr("geodrop.xdp.pins._filesystem", lambda _: BPFFS_MAGIC)
    pins.check()
    pins.folder.touch()
    assert (pins.sets(), pins.link_indexes()) == ([], [])
    with pytest.raises(UnavailableError, match="is not geodrop's folder of pins"):
        pins.check()
    pins.folder.unlink()
    pins.make()
    pins.check()
    os.chown(pins.folder, 1, -1)
    with pytest.raises(UnavailableError, match="belongs to uid 1"):
        pins.check()
