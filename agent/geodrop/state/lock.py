# SPDX-License-Identifier: Apache-2.0
"""The lock that lets one process at a time change a network namespace's dataplane; and how a daemon is found.

A process that can open a file can lock it, so only the lock file's owner and group may open it. A daemon holds the lock
for its whole life. Beside the lock it writes a file that every user may read: its process ID, the socket it answers on
and its state directory. So no command has to read agent.yaml to find them. The file stays until the next boot. The
socket is removed from it when the daemon ends; after a daemon was killed, by the next process that takes the lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from geodrop.errors import BusyError, PrivilegeError, UnavailableError
from geodrop.state import run_folder, this_boot
from geodrop.state.places import daemon_file, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = 256  # sun_path in sys/un.h has 108
LONGEST = LENGTH + 4096  # with PATH_MAX in linux/limits.h
MODE, READABLE = 0o660, 0o644
TRIES = 100


@contextmanager
def exclusive(control: str | os.PathLike[str] = "", state: str | os.PathLike[str] = "") -> Iterator[None]:
    """Hold the lock; a daemon names the `control` socket it will answer on, and its `state` directory.

    Raises BusyError at once, naming the process that holds the lock, PrivilegeError if this process may not lock, and
    UnavailableError if something else is in the lock's place. The kernel releases the lock when its holder ends in any
    way.
    """
    lock = lock_file()
    with run_folder.entered(os.path.dirname(lock)) as folder:
        descriptor = _locked(lock, folder)
        try:
            this_boot.note(folder)
            holder = f"pid {os.getpid()}\n{os.fspath(control)}\n"
            if control:
                _say_where(folder, f"{holder}{os.fspath(state)}\n")
            else:
                _gone(folder)
            # If /run is full, the lock is held without the holder's name in it.
            with suppress(OSError):
                os.pwrite(descriptor, holder.encode().ljust(LENGTH), 0)
            try:
                yield
            finally:
                _gone(folder)
        finally:
            os.close(descriptor)


def control_socket() -> str:
    """Return the socket of this network namespace's daemon, or of one that was killed; "" if there is none.

    Raises UnavailableError if something else is in place of the daemon's file.
    """
    return _daemon()[0]


def last_state() -> str:
    """Return the state directory of the running daemon, or of the last one since boot; "" if it is unknown.

    A file written by a user other than root may name only a folder of that user: an attacker may have its rights.
    """
    _, state, owner = _daemon()
    try:
        known = state and (owner == 0 or os.stat(state).st_uid == owner)
    except OSError:
        return ""
    return state if known else ""


def _daemon() -> tuple[str, str, int]:
    """Return socket and state directory from the daemon's file, and the owner of the file."""
    try:
        descriptor = run_folder.opened(daemon_file(), os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return "", "", -1
    try:
        content, owner = os.pread(descriptor, LONGEST, 0), os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
    _, control, state, *_ = [*content.decode(errors="surrogateescape").split("\n"), "", "", ""]
    return control.strip(), state, owner


def _say_where(folder: int, said: str) -> None:
    """Write the daemon's file: without it the daemon could not be found. Raises UnavailableError."""
    try:
        run_folder.remove(daemon_file(), folder)
        run_folder.replace(daemon_file(), said.encode(errors="surrogateescape"), folder, READABLE)
    except OSError as error:
        raise UnavailableError(f"{daemon_file()}: {error.strerror}", "make room there") from error


def _gone(folder: int) -> None:
    """Remove everything but the state directory from the daemon's file; if it cannot be written, remove the file."""
    try:
        control, state, _ = _daemon()
        if control:
            run_folder.replace(daemon_file(), f"\n\n{state}\n".encode(errors="surrogateescape"), folder, READABLE)
    except (OSError, UnavailableError):
        with suppress(OSError):
            run_folder.remove(daemon_file(), folder)


def _locked(path: str, folder: int) -> int:
    """Return a descriptor of the lock file, locked.

    If other users can open the file, as with one made by an older version, any process may hold it open for ever: once
    we have locked it, it is replaced by a new file. So a file may have lost its name by the time it is locked.
    """
    for _ in range(TRIES):
        descriptor = _opened(path, folder)
        if descriptor is None:
            continue
        try:
            open_to_others = bool(os.fstat(descriptor).st_mode & stat.S_IRWXO)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _busy(os.pread(descriptor, LENGTH, 0), path if open_to_others else "") from None
            if run_folder.is_named(descriptor, path, folder):
                if not open_to_others:
                    locked, descriptor = descriptor, -1
                    return locked
                run_folder.remove(path, folder)
        except PermissionError as error:
            raise PrivilegeError(
                f"{path}: other users can open it, and it cannot be replaced", "run as root"
            ) from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    raise UnavailableError(f"{path}: another program keeps replacing it", f"see: ls -l {os.path.dirname(path)}")


def _opened(path: str, folder: int) -> int | None:
    """Open the lock file, make it if it is missing; return None if it was removed while it was opened."""
    try:
        try:
            return run_folder.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder, mode=MODE)
        except FileExistsError:
            return run_folder.opened(path, os.O_RDWR, folder)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise PrivilegeError(f"{path}: may not be opened", "run as root") from error


def _busy(content: bytes, open_to_others: str) -> BusyError:
    holder, control = _lines(content)
    if control:
        return BusyError(f"the geodrop daemon ({holder}) has the dataplane", "make the change with: geodrop reload")
    step = f"; if none runs, another program holds the lock: remove {open_to_others}" if open_to_others else ""
    return BusyError(
        f"another geodrop process{f' ({holder})' if holder else ''} is changing the dataplane",
        f"wait for it to end and try again{step}",
    )


def _lines(content: bytes) -> tuple[str, str]:
    holder, control, *_ = [*content.decode(errors="replace").split("\n"), "", ""]
    return holder.strip(), control.strip()
