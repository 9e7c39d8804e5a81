"""One changer at a time, a network namespace each; and how a daemon is found.

Whoever can open a file can lock it, so the lock is for its owner and group alone. Beside it a daemon, which holds the
lock for its whole life, writes a file that everybody may read: which process it is, the socket it answers on and where
its state is. So nobody has to read agent.yaml to find either. The file stays until the next boot, but for the socket:
that goes with the daemon, or with who takes the lock after one that was killed.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from geodrop.errors import BusyError, PrivilegeError, UnavailableError
from geodrop.state import run_folder
from geodrop.state.places import daemon_file, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = 256  # sun_path in sys/un.h has 108
LONGEST = LENGTH + 4096  # with PATH_MAX in linux/limits.h
MODE, READABLE = 0o660, 0o644
TRIES = 100


@contextmanager
def exclusive(control: str | os.PathLike[str] = "", state: str | os.PathLike[str] = "") -> Iterator[None]:
    """Hold the lock; a daemon names the `control` socket it will answer on, and its state directory.

    Raises BusyError at once, naming the process that has it, PrivilegeError if this one may not, and UnavailableError
    where something else has the lock's place. The kernel gives the lock back when its holder ends, however it ends.
    """
    lock = lock_file()
    with run_folder.entered(os.path.dirname(lock)) as folder:
        descriptor = _locked(lock, folder)
        try:
            holder = f"pid {os.getpid()}\n{os.fspath(control)}\n"
            if control:
                _say_where(folder, f"{holder}{os.fspath(state)}\n")
            else:
                _gone(folder)
            # Where /run takes nothing, nobody is told who has it.
            with suppress(OSError):
                os.pwrite(descriptor, holder.encode().ljust(LENGTH), 0)
            try:
                yield
            finally:
                _gone(folder)
        finally:
            os.close(descriptor)


def control_socket() -> str:
    """Where the daemon of this network namespace answers, or answered before it was killed; "" if there was none.

    Raises UnavailableError where something else has the place of the file that says so.
    """
    return _daemon()[0]


def last_state() -> str:
    """The state directory of the daemon that runs, or ran last since the last boot; "" if that is not known.

    Whoever has taken over the user of a daemon that is not root may name none but a folder of that user.
    """
    _, state, owner = _daemon()
    try:
        known = state and (owner == 0 or os.stat(state).st_uid == owner)
    except OSError:
        return ""
    return state if known else ""


def _daemon() -> tuple[str, str, int]:
    """What the daemon's file says, socket and state directory, and the user whose file it is."""
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
    """Write the daemon's file: without it a daemon could not be found."""
    try:
        run_folder.remove(daemon_file(), folder)
        run_folder.replace(daemon_file(), said.encode(errors="surrogateescape"), folder, READABLE)
    except OSError as error:
        raise UnavailableError(f"{daemon_file()}: {error.strerror}", "make room there") from error


def _gone(folder: int) -> None:
    """Leave nothing in the daemon's file but where its state is; the file goes where not even that can be written."""
    try:
        control, state, _ = _daemon()
        if control:
            run_folder.replace(daemon_file(), f"\n\n{state}\n".encode(errors="surrogateescape"), folder, READABLE)
    except (OSError, UnavailableError):
        with suppress(OSError):
            run_folder.remove(daemon_file(), folder)


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
