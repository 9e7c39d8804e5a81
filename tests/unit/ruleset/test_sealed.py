import fcntl
import os
from pathlib import Path

import pytest

from geodrop.inputs import open_regular
from geodrop.ruleset.sealed import SEALS, Sealed, seal


def read(path: Path, limit: int = 1 << 20) -> Sealed:
    """A file's content, sealed."""
    descriptor = open_regular(path)
    try:
        return Sealed.read(descriptor, limit)
    finally:
        os.close(descriptor)


def test_content_stays(tmp_path: Path) -> None:
    """Whatever becomes of the file, by whoever has it open; and nobody can write to the copy."""
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
    """What is sealed already is not copied; what is not yet is."""
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(memory, b"abc")
    assert not os.path.sameopenfile(Sealed.read(memory, 10).descriptor, memory)
    seal(memory)
    assert os.path.sameopenfile(Sealed.read(memory, 10).descriptor, memory)
    os.close(memory)


def test_written_back_as_it_was(tmp_path: Path) -> None:
    """Behind what the file holds already."""
    (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
    with (tmp_path / "b").open("wb") as file:
        file.write(b"head")
        read(tmp_path / "a").write_to(file)
    assert (tmp_path / "b").read_bytes() == b"head" + bytes(range(256)) * 100


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    """A file that has no end by the time it is read costs the limit and one byte."""
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)
    assert len(read(tmp_path / "a", 1000).view) == 1001
    (tmp_path / "b").touch()
    assert len(read(tmp_path / "b").view) == 0


def test_descriptors_are_closed(tmp_path: Path) -> None:
    """With the last that holds the memory."""
    (tmp_path / "a").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    memory = read(tmp_path / "a")
    assert len(os.listdir("/proc/self/fd")) > before
    del memory
    assert len(os.listdir("/proc/self/fd")) == before
