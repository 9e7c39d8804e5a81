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


_MAX_LINKS = 40
"""On the way to one file, as in the kernel."""


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """A descriptor of a regular file, for reading.

    It never makes a reader wait: some files of /proc and /sys are regular and would (O_NONBLOCK). Raises OSError, whose
    text says what else it is.
    """
    name = os.fspath(path)
    return _opened(os.open(name, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)), name)


def open_beneath(folder: int, name: str) -> int:
    """A descriptor of a regular file inside a folder, given by descriptor; raises OSError, also where it is outside.

    Links are followed as long as they stay inside; neither `..` nor an absolute link can lead out. Each folder on the
    way is held, and `..` is the one before, so whatever is renamed meanwhile leads nowhere else. openat2(2) does this
    in one call, but systemd refuses it where a unit has RestrictSUIDSGID=, since no filter can read its flags.
    """
    if "\0" in name:
        raise OSError(errno.EINVAL, "is no name of a file", name)
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
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
                ahead += _steps(os.readlink("", dir_fd=found))
                os.close(way.pop())
        return _opened(way.pop() if way else os.dup(folder), name)
    finally:
        for descriptor in way:
            os.close(descriptor)


def _steps(name: str) -> list[str]:
    """The steps of a way, the last one first."""
    if name.startswith("/"):
        raise _outside(name)
    return name.split("/")[::-1]


def _outside(name: str) -> OSError:
    return OSError(errno.EXDEV, "leads out of the folder (links in it must be relative)", name)


def _opened(found: int, name: str) -> int:
    """Open for reading what a descriptor of O_PATH stands for, which is closed."""
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
