# SPDX-License-Identifier: Apache-2.0
"""Write files that survive a power cut: replaced as a whole, or extended by a whole line.

New content is written to a file beside the old one and synced before it takes the name; then the folder is synced,
because a new name may otherwise be lost in a power cut. So a reader finds the old content or the new.

Root writes here too, in folders of the daemon's user. If that user replaces a folder by a link, root does not follow.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from geodrop.errors import ApplyError, GeodropError, PrivilegeError
from geodrop.linux.owner import adopt
from geodrop.state import run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BESIDE = ".new-"
"""Prefix of the names of files that are being written. Such a file without a writer was left by a crash."""

_PIECE = 1 << 16


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Give a file the content that `write` writes.

    Raises PrivilegeError or ApplyError; then the file has its old content.
    """
    with _readable_failures(path):
        make_folder(path.parent)
        with _entered(path.parent) as folder:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=BESIDE, delete=False) as file:
                try:
                    adopt(file.fileno(), folder)
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(file.name, folder / path.name)
                except BaseException:
                    # Report the first failure; `sweep` finds a file that cannot be removed now.
                    with contextlib.suppress(OSError):
                        os.unlink(file.name)
                    raise
            _sync_folder(folder)


def remove(path: Path) -> None:
    """Remove a file if it is there. Raises PrivilegeError or ApplyError."""
    # A disk that is read-only refuses to remove even what is not there.
    if not path.exists():
        return
    with _readable_failures(path), _entered(path.parent) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / path.name)
        _sync_folder(folder)


def append(path: Path, line: bytes) -> None:
    """Add a line to a file. Raises PrivilegeError or ApplyError; then the file is as it was.

    Content after the last line break was cut off by a crash before its write was reported as done: it is removed.
    """
    with _readable_failures(path):
        make_folder(path.parent)
        with _entered(path.parent) as folder:
            name = folder / path.name
            new = not name.exists()
            descriptor = os.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            try:
                if new:
                    adopt(descriptor, folder)
                _append(descriptor, line)
            finally:
                os.close(descriptor)
            if new:
                _sync_folder(folder)


def _append(descriptor: int, line: bytes) -> None:
    size = _whole_lines(descriptor)
    try:
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, size)
        _write_all(descriptor, line + b"\n")
        os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, closed to others; the names of new folders are synced as well."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o750, exist_ok=True)
    adopt(folder, folder.parent)
    _sync_folder(folder.parent)


def sweep(folder: Path) -> None:
    """Remove files left by crashes. The caller holds the lock, so no other process is writing. Raises OSError."""
    if not folder.is_dir():
        return
    with _entered(folder) as entered:
        for name in os.listdir(entered):
            if name.startswith(BESIDE):
                with contextlib.suppress(OSError):
                    os.unlink(entered / name)


def _whole_lines(descriptor: int) -> int:
    """Return how many bytes of a file are whole lines."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(end - _PIECE, 0)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


@contextlib.contextmanager
def _entered(folder: Path) -> Iterator[Path]:
    """Yield a path that stays that of the folder, even if a folder above it is renamed. Raises OSError."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(run_folder.entered(os.path.abspath(folder)))
        except GeodropError as error:
            raise error.__cause__ or error from None
        yield Path(f"/proc/self/fd/{descriptor}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _readable_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PrivilegeError(f"{path}: may not be written", "run as root") from error
    except OSError as error:
        raise ApplyError(f"{path}: {error.strerror}", "make room, or name another `state` in agent.yaml") from error
