# SPDX-License-Identifier: Apache-2.0
"""Disk space reserved for what must be written, on a file system of fixed size."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ApplyError
from geodrop.state import files
from geodrop.state.room import SIZE, Room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=False).returncode
    ):
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    """Fill the file system."""
    with (disk / "fill").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def write(disk: Path) -> None:
    """Write what must be written."""
    files.replace(disk / "file", lambda file: file.write(b"x" * 5000))


def test_a_full_disk_has_room_for_what_matters(disk: Path) -> None:
    """On a full disk the reserve is released once, then writes fail. With free space it is reserved again."""
    room = Room(disk)
    room.take()
    assert (disk / "reserve").stat().st_size == SIZE
    fill(disk)
    with pytest.raises(ApplyError, match="No space"):
        write(disk)
    room.write(lambda: write(disk))
    assert (disk / "file").stat().st_size == 5000
    fill(disk)
    room.take()
    assert not (disk / "reserve").exists(), "half a reserve would only be in the way"
    with pytest.raises(ApplyError, match="No space"):
        room.write(lambda: files.replace(disk / "other", lambda file: file.write(b"x" * 5000)))
    (disk / "fill").unlink()
    room.take()
    assert (disk / "reserve").stat().st_blocks * 512 >= SIZE


def test_only_for_want_of_room(tmp_path: Path) -> None:
    """A write that fails for another reason raises, and the reserve stays."""
    room = Room(tmp_path)
    room.take()
    calls = []

    def broken() -> None:
        calls.append(1)
        raise ApplyError("intent.json: Input/output error", "look") from OSError(errno.EIO, "Input/output error")

    with pytest.raises(ApplyError):
        room.write(broken)
    assert len(calls) == 1
    assert (tmp_path / "reserve").exists()


def test_no_folder_no_reserve(tmp_path: Path) -> None:
    """On a host where nothing was ever loaded, no folder is created for the reserve."""
    Room(tmp_path / "none").take()
    assert not (tmp_path / "none").exists()
