"""One changer at a time, a network namespace each; and how a daemon is found.

Whoever can open a file can lock it, so the lock is for its owner and group alone. Beside it a daemon, which holds the
lock for its whole life, writes a file that everybody may read: which process it is, and the socket it answers on. So
nobody has to read agent.yaml to find it. Who takes the lock after a daemon that was killed removes what it left.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geodrop.errors import BusyError, PrivilegeError, UnavailableError
from geodrop.state import run_folder
from geodrop.state.places import daemon_file, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = 256  # sun_path in sys/un.h has 108
MODE, READABLE = 0o660, 0o644
TRIES = 100


@contextmanager
def exclusive(control: str | os.PathLike[str] = "") -> Iterator[None]:
    """Hold the lock; a daemon names the `control` socket it will answer on.

    Raises BusyError at once, naming the process that has it, PrivilegeError if this one may not, and UnavailableError
    where something else has the lock's place. The kernel gives the lock back when its holder ends, however it ends.
    """
    lock, daemon = lock_file(), daemon_file()
    with run_folder.entered(os.path.dirname(lock)) as folder:
        descriptor = _locked(lock, folder)
        try:
            holder = f"pid {os.getpid()}\n{os.fspath(control)}\n".encode().ljust(LENGTH)
            _name_holder(descriptor, holder, folder, daemon if control else "")
            try:
                yield
            finally:
                run_folder.remove(daemon, folder)
        finally:
            os.close(descriptor)


def _name_holder(lock: int, holder: bytes, folder: int, daemon: str) -> None:
    """Say who has it. Where /run takes nothing, a command does without; a daemon could not be found."""
    try:
        os.pwrite(lock, holder, 0)
        run_folder.remove(daemon_file(), folder)
        if daemon:
            run_folder.replace(daemon, holder, folder, READABLE)
    except OSError as error:
        if daemon:
            raise UnavailableError(f"{daemon}: {error.strerror}", "make room there") from error


def control_socket() -> str:
    """Where the daemon of this network namespace answers, or answered before it was killed; "" if there was none.

    Raises UnavailableError where something else has the place of the file that says so.
    """
    try:
        descriptor = run_folder.opened(daemon_file(), os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return ""
    try:
        return _lines(os.pread(descriptor, LENGTH, 0))[1]
    finally:
        os.close(descriptor)


def _locked(path: str, folder: int) -> int:
    """The descriptor of the lock, locked.

    A file that others can open, such as one of a version that made it so, may be open somewhere for good: once it is
    ours, another one takes its place. So a file may have lost its name by the time that it is locked.
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
            raise PrivilegeError(f"{path}: can be opened by others, and not be replaced", "run as root") from error
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    raise UnavailableError(f"{path}: somebody keeps replacing it", f"see who: ls -l {os.path.dirname(path)}")


def _opened(path: str, folder: int) -> int | None:
    """The lock, made if it is missing; None if it was there and went while it was opened."""
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
    step = f"; if none runs, somebody else holds it: remove {open_to_others}" if open_to_others else ""
    return BusyError(
        f"another geodrop process{f' ({holder})' if holder else ''} is changing the dataplane",
        f"wait for it to end and try again{step}",
    )


def _lines(content: bytes) -> tuple[str, str]:
    holder, control, *_ = [*content.decode(errors="replace").split("\n"), "", ""]
    return holder.strip(), control.strip()
