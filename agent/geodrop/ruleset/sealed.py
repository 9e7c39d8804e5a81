# SPDX-License-Identifier: Apache-2.0
"""Read a file once, into sealed memory that no process can change.

A file can be written while it is read: `cp` and `rsync --inplace` write into the existing file. Then the content that
was checked would not be the content that is used, and truncating a mapped file kills the process that reads it
(SIGBUS). A copy in memory has neither fault. It is shared with other processes by its descriptor, and pages that we do
not touch never count as our memory.
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
"""With these seals the content cannot change any more."""


class Memory:
    """Sealed memory: `descriptor` stays open as long as this object lives."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor."""
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class Sealed:
    """The content of a file at one moment, as `view` of some `memory`."""

    def __init__(self, memory: Memory) -> None:
        """Map the memory."""
        self.memory = memory
        descriptor = memory.descriptor
        size = os.fstat(descriptor).st_size
        # Private, because Linux before 6.7 refuses shared mappings of memory that is sealed against writing.
        flags = mmap.MAP_PRIVATE
        self.view = memoryview(mmap.mmap(descriptor, 0, flags, mmap.PROT_READ) if size else b"")

    @classmethod
    def read(cls, file: int, limit: int) -> Self:
        """Copy an open file, at most `limit` + 1 bytes, so that a caller can tell a file above the limit.

        Raises OSError. The descriptor stays the caller's. Memory that is sealed already is shared, not copied.
        """
        if _seals(file) & FIXED == FIXED:
            return cls(Memory(os.dup(file)))
        memory = Memory(os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        left, at = min(os.fstat(file).st_size, limit + 1), 0
        while left and (count := os.sendfile(memory.descriptor, file, at, left)):
            at, left = at + count, left - count
        seal(memory.descriptor)
        return cls(memory)

    def remapped(self) -> Self:
        """Return the same memory through another mapping. Raises OSError."""
        return type(self)(self.memory)

    @property
    def descriptor(self) -> int:
        """The descriptor of the memory, which stays open as long as this object lives."""
        return self.memory.descriptor

    def write_to(self, file: IO[bytes]) -> None:
        """Append the content to a file. Raises OSError."""
        file.flush()
        left, at = len(self.view), 0
        while left:
            count = os.sendfile(file.fileno(), self.descriptor, at, left)
            at, left = at + count, left - count


def seal(memory: int) -> None:
    """Seal memory (os.memfd_create) for ever. Raises OSError; EBUSY while a writable mapping of it exists."""
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)


def _seals(file: int) -> int:
    with Excused(errno.EINVAL):  # a file on a disk, not a memfd
        return fcntl.fcntl(file, fcntl.F_GET_SEALS)
    return 0
