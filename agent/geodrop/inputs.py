"""Open files that users name: policy, lists, databases, rulesets, agent.yaml.

A name may lead to anything: opening a FIFO waits for ever, opening a device may have an effect, a terminal may become
our controlling terminal, and some files never end. So a name is resolved first without opening its target, only a
regular file is opened, and reading is bounded. Standard library only: this runs with privileges.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from geodrop.linux.libc import LIBC

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}


_SYS_OPENAT2 = ctypes.c_long(437)
"""The same number on every architecture (Linux 5.6)."""

_RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 0x02, 0x08
_TRIES = 8
"""How often a name is resolved again after a rename elsewhere interfered (EAGAIN)."""


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """Open a regular file for reading; return a descriptor. With `follow` False, a final symbolic link is refused.

    Reading never waits: some files of /proc and /sys are regular and would wait without O_NONBLOCK. Raises OSError,
    whose text says what else the name is.
    """
    name = os.fspath(path)
    return _opened(os.open(name, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)), name)


def open_beneath(folder: int, name: str) -> int:
    """Open a regular file inside a folder, given by descriptor; return a descriptor. Raises OSError, also if outside.

    Links are followed as long as they stay inside: the kernel resolves the whole name and keeps it inside the folder
    (RESOLVE_BENEATH), whatever is renamed meanwhile. Neither `..` nor an absolute link can lead out.
    """
    if "\0" in name:
        raise OSError(errno.EINVAL, "is not the name of a file", name)
    # struct open_how: flags, mode, resolve
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    code = 0
    for _ in range(_TRIES):
        found = LIBC.syscall(_SYS_OPENAT2, ctypes.c_long(folder), os.fsencode(name), ctypes.byref(how), size)
        if found >= 0:
            return _opened(found, name)
        code = ctypes.get_errno()
        if code != errno.EAGAIN:
            break
    what = "leads out of the folder (links in it must be relative)" if code == errno.EXDEV else os.strerror(code)
    raise OSError(code, what, name)


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
