# SPDX-License-Identifier: Apache-2.0
"""Disk space reserved in the state directory for the small files that must be written: intent and history."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from geodrop.errors import ApplyError
from geodrop.linux.owner import adopt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    T = TypeVar("T")

SIZE = 1 << 20
"""Bytes reserved. The file also reserves an inode, which a file system may run out of as well."""


class Room:
    """A file of zeroes in a folder, removed when the disk is full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "reserve"

    def take(self) -> None:
        """Reserve the space if it is not reserved; failing is ignored."""
        with suppress(OSError):
            if os.lstat(self._path).st_blocks * 512 >= SIZE:
                return
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            try:
                adopt(descriptor, self._path.parent)
                os.posix_fallocate(descriptor, 0, SIZE)
            except OSError:
                # A partial reserve is of no use.
                os.unlink(self._path)
            finally:
                os.close(descriptor)

    def write(self, work: Callable[[], T]) -> T:
        """Call `work`, which writes; if the disk is full, release the reserve and call it again. Raises as `work`."""
        try:
            return work()
        except ApplyError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            try:
                os.unlink(self._path)
            except OSError:
                raise error from cause
        return work()
