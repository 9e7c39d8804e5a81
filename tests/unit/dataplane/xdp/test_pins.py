"""Where pins may be: in a bpffs, in a folder of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.xdp.pins import Pins, version_of
from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_is_no_bpffs_is_refused(tmp_path: Path) -> None:
    """It is named, with the command that mounts one."""
    with pytest.raises(UnavailableError, match=r"is no bpffs.*mount -t bpf"):
        Pins(tmp_path / "geodrop").check()


def test_sets_are_numbered_and_say_their_version(tmp_path: Path) -> None:
    """The newest comes first; what is no set is passed over."""
    pins = Pins(tmp_path / "geodrop")
    assert pins.sets() == []
    pins.make()
    made = [pins.new_set("aa11"), pins.new_set("bb22")]
    (pins.folder / "something").mkdir()
    assert pins.sets() == made[::-1]
    assert [version_of(path) for path in pins.sets()] == ["bb22", "aa11"]
    assert oct(pins.folder.stat().st_mode)[-3:] == "700"


def test_removing_leaves_what_is_not_ours(tmp_path: Path) -> None:
    """The folder goes when nothing else is in it."""
    pins = Pins(tmp_path / "geodrop")
    pins.make()
    pins.new_set("aa11")
    pins.remove()
    assert not pins.folder.exists()
