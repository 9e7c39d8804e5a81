"""One changer at a time, a network namespace each."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geodrop.errors import BusyError, PrivilegeError
from geodrop.state.places import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock. Raises BusyError at once, naming the process that has it, and PrivilegeError if it may not.

    The kernel gives the lock back when its holder ends, however it ends.
    """
    path = lock_file()
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except PermissionError as error:
        raise PrivilegeError(f"{path}: may not be opened", "run as root") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise BusyError(
                f"another geodrop process{f' ({holder})' if holder else ''} is changing the dataplane",
                "wait for it to end and try again",
            ) from None
        os.pwrite(descriptor, f"pid {os.getpid()}\n".ljust(31).encode(), 0)
        yield
    finally:
        os.close(descriptor)
