# SPDX-License-Identifier: Apache-2.0
"""Open files that users name: policy, lists, databases, rulesets, agent.yaml.

A name may lead to anything: opening a FIFO waits for ever, opening a device may have an effect, a terminal may become
our controlling terminal, and some files never end. So a name is resolved first without opening its target, only a
regular file is opened, and reading is bounded. Standard library only: this runs with privileges.
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


MAX_LINKS = 40
"""Symbolic links on the way to one file, as many as the kernel follows."""


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """Open a regular file for reading; return a descriptor. With `follow` False, a final symbolic link is refused.

    Reading never waits: some files of /proc and /sys are regular and would wait without O_NONBLOCK. Raises OSError,
    whose text says what else the name is.
    """
    name = os.fspath(path)
    return _opened(os.open(name, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)), name)


def open_beneath(folder: int, name: str) -> int:
    """Open a regular file inside a folder, given by descriptor; return a descriptor. Raises OSError, also if outside.

    Links are followed as long as they stay inside; neither `..` nor an absolute link can lead out. Each folder on the
    way is held open, and `..` is the folder held before it, so a rename meanwhile leads nowhere else. openat2(2) does
    this in one call, but systemd refuses it under RestrictSUIDSGID=, since no filter can read its flags.
    """
    if "\0" in name:
        raise OSError(errno.EINVAL, "is not the name of a file", name)
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    way: list[int] = []
    links, ahead = 0, _steps(name)
    try:
        while ahead:
            step, here = ahead.pop(), way[-1] if way else folder
            if step in {"", ".", ".."}:
                os.stat(".", dir_fd=here)  # raises where this is no folder
                if step == ".." and not way:
                    raise _outside(name)
                if step == "..":
                    os.close(way.pop())
                continue
            found = os.open(step, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            way.append(found)
            if stat.S_ISLNK(os.fstat(found).st_mode):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                ahead += _steps(os.readlink("", dir_fd=found))
                os.close(way.pop())
        return _opened(way.pop() if way else os.dup(folder), name)
    finally:
        for descriptor in way:
            os.close(descriptor)


def _steps(name: str) -> list[str]:
    """Return the steps of a path, the last one first. Raises OSError for an absolute path."""
    if name.startswith("/"):
        raise _outside(name)
    return name.split("/")[::-1]


def _outside(name: str) -> OSError:
    return OSError(errno.EXDEV, "leads out of the folder (links in it must be relative)", name)


def _opened(found: int, name: str) -> int:
    """Open for reading the file of an O_PATH descriptor, and close that descriptor."""
    try:
        kind = stat.S_IFMT(os.fstat(found).st_mode)
        if kind != stat.S_IFREG:
            what = f"is {KINDS.get(kind, 'of another kind')}, not a regular file"
            raise OSError(errno.EINVAL, what, name)
        try:
            # By /proc the same file is opened that was checked, whatever the name leads to by now.
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            error.filename = name
            raise
    finally:
        os.close(found)


def read_regular(path: str | os.PathLike[str], limit: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file. Raises OSError if it is not one, or is longer than `limit` bytes."""
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
