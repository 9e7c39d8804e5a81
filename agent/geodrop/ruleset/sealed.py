"""Files read once, into memory that nobody can change any more.

Whoever may write to a file may do so while it is read: `cp` and `rsync --inplace` write into the one that is there. So
what was checked would not be what is used, and a mapped file that is cut off kills whoever looks at it. A copy in
memory has neither fault. It is shared with other processes by its descriptor, and never counts as our memory where
nobody looks at it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import IO, Self

from geodrop.errors import Excused

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
FIXED = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""With these the content stays as it is."""


class Sealed:
    """What a file held at one moment: `view` is its content, `descriptor` open for as long as this exists."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor of sealed memory."""
        self.descriptor = descriptor
        size = os.fstat(descriptor).st_size
        # Privately: Linux before 6.7 refuses the other kind for memory that is sealed against writing.
        flags = mmap.MAP_PRIVATE
        self.view = memoryview(mmap.mmap(descriptor, 0, flags, mmap.PROT_READ) if size else b"")

    @classmethod
    def read(cls, file: int, limit: int) -> Self:
        """Copy an open file, at most `limit` bytes and one; raises OSError.

        The descriptor stays the caller's. Memory that is sealed already is shared, not copied.
        """
        if _seals(file) & FIXED == FIXED:
            return cls(os.dup(file))
        memory = os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            left, at = min(os.fstat(file).st_size, limit + 1), 0
            while left and (count := os.sendfile(memory, file, at, left)):
                at, left = at + count, left - count
            seal(memory)
            return cls(memory)
        except BaseException:
            os.close(memory)
            raise

    def write_to(self, file: IO[bytes]) -> None:
        """Append the content to a file; raises OSError."""
        file.flush()
        left, at = len(self.view), 0
        while left:
            count = os.sendfile(file.fileno(), self.descriptor, at, left)
            at, left = at + count, left - count

    def __del__(self) -> None:
        os.close(self.descriptor)


def seal(memory: int) -> None:
    """Make memory (os.memfd_create) what it is now for ever; raises OSError, EBUSY while somebody maps it to write."""
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)


def _seals(file: int) -> int:
    with Excused(errno.EINVAL):  # no memory, but a file on a disk
        return fcntl.fcntl(file, fcntl.F_GET_SEALS)
    return 0
