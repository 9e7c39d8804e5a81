"""Open files that somebody else names: policy, lists, databases, rulesets, agent.yaml.

A name may lead to anything: opening a FIFO waits for ever, opening a device may do something, a terminal becomes ours,
and some files never end. So a name is resolved first without opening what it leads to, only a regular file is opened,
and reading is bounded. Standard library only: this runs with privileges.
"""

from __future__ import annotations

import errno
import os
import stat

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


def open_regular(path: str | os.PathLike[str], *, folder: int | None = None, follow: bool = True) -> int:
    """A descriptor of a regular file, for reading; `path` may be relative to a folder, given by descriptor.

    It never makes a reader wait: some files of /proc and /sys are regular and would (O_NONBLOCK). Raises OSError, whose
    text says what else it is.
    """
    name = os.fspath(path)
    found = os.open(name, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    try:
        kind = stat.S_IFMT(os.fstat(found).st_mode)
        if kind != stat.S_IFREG:
            what = f"is {KINDS.get(kind, 'of another kind')}, not a regular file"
            raise OSError(errno.EINVAL, what, name)
        try:
            # The very file that was looked at, whatever the name leads to by now.
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            error.filename = name
            raise
    finally:
        os.close(found)


def read_regular(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """The content of a regular file; raises OSError where it is none, or longer than `limit` bytes."""
    descriptor = open_regular(path, follow=follow)
    try:
        content = bytearray()
        while piece := os.read(descriptor, min(1 << 16, limit + 1 - len(content))):
            content += piece
            if len(content) > limit:
                raise OSError(errno.EFBIG, f"is longer than {limit:,} bytes", os.fspath(path))
        return bytes(content)
    finally:
        os.close(descriptor)
