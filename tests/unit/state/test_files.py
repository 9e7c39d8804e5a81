# SPDX-License-Identifier: Apache-2.0
"""Power cuts and failing disks, at every call.

`Disk` watches the calls of the code under test, and makes every folder that a power cut could leave: content that was
not synced may be complete, truncated or missing, and a name that was not synced may exist or not.
"""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geodrop.errors import ApplyError, PrivilegeError
from geodrop.state import files

CALLS = ("open", "write", "fsync", "replace", "ftruncate", "mkdir", "pread")
OLD, NEW = b"old\n", b"new, and longer\n"

State = dict[str, bytes]


def replace(folder: Path) -> None:
    """Replace the file's content."""
    files.replace(folder / "file", lambda file: file.write(NEW))


def append(folder: Path) -> None:
    """Append a line to the file."""
    files.append(folder / "file", NEW.rstrip())


CHANGES = {"replace": (replace, NEW), "append": (append, OLD + NEW)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one file."""
    made = tmp_path / "state"
    made.mkdir()
    (made / "file").write_bytes(OLD)
    return made


class Failing:
    """Let some calls of `os` succeed, then make one fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, passing: int, number: int) -> None:
        self.failed = ""
        self._left, self._number = passing, number
        for name in CALLS:
            monkeypatch.setattr(os, name, self._watch(name, getattr(os, name)))

    def _watch(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **options: object) -> object:
            self._left -= 1
            if self._left == -1:
                self.failed = name
                raise OSError(self._number, os.strerror(self._number))
            return call(*arguments, **options)

        return watched


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_call_may_fail(folder: Path, name: str, number: int) -> None:
    """Whichever call fails, the file has its old or new content, nothing is left beside it, and an error is raised."""
    change, changed = CHANGES[name]
    for passing in itertools.count():
        (folder / "file").write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, passing, number)
            try:
                change(folder)
                raised = None
            except (ApplyError, PrivilegeError) as error:
                raised = error
        if not failing.failed:
            break
        assert isinstance(raised, PrivilegeError if number == errno.EACCES else ApplyError), failing.failed
        assert str(folder / "file") in raised.message
        assert (folder / "file").read_bytes() in {OLD, changed}, failing.failed
        assert [path.name for path in folder.iterdir()] == ["file"], failing.failed
    assert passing > 3
    assert (folder / "file").read_bytes() == changed


class Disk:
    """Follow files in one folder through writes, syncs and renames, by their descriptors and names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder = folder
        self._real = os.fsync, os.replace
        self.crashes: list[State] = []
        self._pending: State = {}
        self._renamed: dict[str, str] = {}
        self._synced: State = self._now()
        self._names = set(self._synced)
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(os, "replace", self._replace)

    def _now(self) -> State:
        return {path.name: path.read_bytes() for path in self._folder.iterdir()}

    def _fsync(self, descriptor: int) -> None:
        self.cut()
        self._real[0](descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        now = self._now()
        if path == self._folder:
            self._synced = {name: self._synced.get(name, now[name][:0]) for name in now} | self._moved(now)
        elif path.name in self._names or path.name.startswith(files.BESIDE):
            self._pending[path.name] = now[path.name]
            if path.name in self._names:
                self._synced[path.name] = now[path.name]
        self.cut()

    def _moved(self, now: State) -> State:
        return {name: self._pending.get(source, b"") for name, source in self._renamed.items() if name in now}

    def _replace(self, source: str, target: Path) -> None:
        self.cut()
        self._real[1](source, target)
        self._renamed = {**self._renamed, target.name: Path(source).name}
        self.cut()

    def cut(self) -> None:
        """Record what a power cut at this moment could leave of the file."""
        now = self._now()
        for name in self._names:
            for content in self._possible(name, now):
                self.crashes.append({name: content})

    def _possible(self, name: str, now: State) -> Iterator[bytes]:
        durable = self._synced[name]
        yield durable
        if name in self._renamed:
            # The rename may be durable or not; the file's content is complete if synced, else truncated anywhere.
            yield self._pending.get(self._renamed[name], now[name][: len(now[name]) // 2])
        elif now[name].startswith(durable):
            yield from (now[name][:end] for end in range(len(durable), len(now[name]) + 1))
        else:
            yield now[name][: len(now[name]) // 2]


@pytest.mark.parametrize("name", CHANGES)
def test_power_cut_at_any_call(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """After a power cut at any call, the file has the old or the new content, apart from a truncated line."""
    change, changed = CHANGES[name]
    disk = Disk(monkeypatch, folder)
    change(folder)
    disk.cut()
    assert len(disk.crashes) > 3
    whole = {state["file"][: state["file"].rfind(b"\n") + 1] for state in disk.crashes}
    assert whole == {OLD, changed}
    if name == "replace":
        assert {state["file"] for state in disk.crashes} == {OLD, NEW}


def test_the_last_state_is_durable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the call has returned, a power cut leaves the new content: the name was synced as well."""
    for change, changed in CHANGES.values():
        (folder / "file").write_bytes(OLD)
        with monkeypatch.context() as patch:
            disk = Disk(patch, folder)
            change(folder)
            disk.crashes.clear()
            disk.cut()
        assert disk.crashes[0] == {"file": changed}


def test_a_torn_line_is_replaced(folder: Path) -> None:
    """A line truncated by a crash is removed when the next line is written, however long it is."""
    for torn in (b"to", b"x" * 200_000):
        (folder / "file").write_bytes(OLD + torn)
        append(folder)
        assert (folder / "file").read_bytes() == OLD + NEW


def test_a_file_of_one_torn_line(folder: Path) -> None:
    """A file without any whole line is written from its start."""
    (folder / "file").write_bytes(b"torn")
    append(folder)
    assert (folder / "file").read_bytes() == NEW


def test_new_folders_are_closed_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new folder is closed to other users, and its name is synced in the folder above."""
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.append(tmp_path / "a" / "b" / "file", b"line")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= set(synced)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "a" / "b" / "file").stat().st_mode & 0o777 == 0o640


def test_sweep_removes_what_a_crash_left(folder: Path) -> None:
    """Half-written files are removed, other files stay."""
    (folder / f"{files.BESIDE}x").write_bytes(b"half")
    files.sweep(folder)
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_remove(folder: Path) -> None:
    """What is there is removed; what is not there, in whatever folder, is no failure."""
    (folder / "file").touch()
    files.remove(folder / "file")
    files.remove(folder / "file")
    files.remove(folder / "none" / "file")
    assert list(folder.iterdir()) == []
    (folder / "folder").mkdir()
    with pytest.raises(ApplyError, match="folder: Is a directory"):
        files.remove(folder / "folder")
