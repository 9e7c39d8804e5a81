"""One changer at a time, a network namespace each; and how a daemon is found.

Whoever holds the lock writes into it who it is, in one write of fixed length: `pid 4711`, and a daemon, which holds it
for its whole life, the socket it answers on. So nobody has to read agent.yaml to find it.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from geodrop.errors import BusyError, PrivilegeError
from geodrop.inputs import read_regular
from geodrop.state.owner import adopt
from geodrop.state.places import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = 256  # sun_path in sys/un.h has 108


@contextmanager
def exclusive(control: str | os.PathLike[str] = "") -> Iterator[None]:
    """Hold the lock; a daemon names the `control` socket it will answer on.

    Raises BusyError at once, naming the process that has it, and PrivilegeError if this one may not. The kernel gives
    the lock back when its holder ends, however it ends.
    """
    path = lock_file()
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        raise PrivilegeError(f"{path}: may not be opened", "run as root") from error
    try:
        adopt(descriptor, os.path.dirname(path))
        # Whoever may run a command may find the daemon, whatever the umask; only the file's owner can say so.
        with suppress(PermissionError):
            os.fchmod(descriptor, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(os.pread(descriptor, LENGTH, 0)) from None
        os.pwrite(descriptor, f"pid {os.getpid()}\n{os.fspath(control)}\n".encode().ljust(LENGTH), 0)
        yield
    finally:
        os.close(descriptor)


def control_socket() -> str:
    """Where the daemon of this network namespace answers, or answered before it died; "" if there was none."""
    try:
        return _lines(read_regular(lock_file(), LENGTH, follow=False))[1]
    except OSError:
        return ""


def _busy(content: bytes) -> BusyError:
    holder, control = _lines(content)
    if control:
        return BusyError(f"the geodrop daemon ({holder}) has the dataplane", "make the change with: geodrop reload")
    return BusyError(
        f"another geodrop process{f' ({holder})' if holder else ''} is changing the dataplane",
        "wait for it to end and try again",
    )


def _lines(content: bytes) -> tuple[str, str]:
    holder, control, *_ = [*content.decode(errors="replace").split("\n"), "", ""]
    return holder.strip(), control.strip()
