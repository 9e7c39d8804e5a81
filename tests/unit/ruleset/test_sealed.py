# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
from pathlib import Path

import pytest

from geodrop.inputs import open_regular
from geodrop.ruleset.sealed import SEALS, Sealed, seal


def read(path: Path, limit: int = 1 << 20) -> Sealed:
    """Return a file's content as sealed memory."""
    descriptor = open_regular(path)
    try:
        return Sealed.read(descriptor, limit)
    finally:
        os.close(descriptor)


def test_content_stays(tmp_path: Path) -> None:
    """The copy stays the same while another process writes to the file, and cannot be written to."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10_000)
    memory = read(path)
    os.truncate(path, 0)
    assert bytes(memory.view) == b"x" * 10_000
    assert fcntl.fcntl(memory.descriptor, fcntl.F_GET_SEALS) == SEALS
    with pytest.raises(PermissionError):
        os.pwrite(memory.descriptor, b"y", 0)
    with pytest.raises(TypeError):
        memory.view[0] = 1


def test_sealed_memory_is_shared() -> None:
    """Sealed memory is shared without a copy; unsealed memory is copied."""
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(memory, b"abc")
    assert not os.path.sameopenfile(Sealed.read(memory, 10).descriptor, memory)
    seal(memory)
    assert os.path.sameopenfile(Sealed.read(memory, 10).descriptor, memory)
    os.close(memory)


def test_written_back_as_it_was(tmp_path: Path) -> None:
    """The content is appended to what the file already holds."""
    (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
    with (tmp_path / "b").open("wb") as file:
        file.write(b"head")
        read(tmp_path / "a").write_to(file)
    assert (tmp_path / "b").read_bytes() == b"head" + bytes(range(256)) * 100


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    """At most the limit and one byte are read from a file that never ends."""
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)
    assert len(read(tmp_path / "a", 1000).view) == 1001
    (tmp_path / "b").touch()
    assert len(read(tmp_path / "b").view) == 0


def test_descriptors_are_closed(tmp_path: Path) -> None:
    """The descriptor is closed when the last reference to the memory goes."""
    (tmp_path / "a").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    memory = read(tmp_path / "a")
    assert len(os.listdir("/proc/self/fd")) > before
    del memory
    assert len(os.listdir("/proc/self/fd")) == before
