# SPDX-License-Identifier: Apache-2.0
"""The identity of a boot, on which all processes of a host have to agree, since deadlines belong to a boot.

The kernel's random boot ID is one, but in a container not every process sees the same: the container has an ID of its
own laid over the file in /proc, and a unit with a /proc of its own (ProtectProc=) sees the kernel's. So the first
change of a boot writes the ID that it sees into the folder under /run, which ends with the boot; from then on that ID
counts for every process.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress

from geodrop.errors import Excused, UnavailableError
from geodrop.inputs import read_regular
from geodrop.state import run_folder
from geodrop.state.places import kernels_boot, until_boot

_LONGEST = 64
_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def boot_identity() -> str:
    """Return the identity of this boot: the one that was noted, or else the kernel's boot ID as this process sees it.

    Raises OSError if /proc is not mounted, or if what was noted cannot be read.
    """
    return _noted() or kernels_boot()


def boot_id() -> str:
    """Return the first eight hexadecimal digits of `boot_identity`."""
    return boot_identity()[:8]


def note(folder: int) -> None:
    """Note the identity for every later process, unless that was done in this boot. The caller holds the lock.

    `folder` is a descriptor of the folder of the lock. If /run is full, nothing is noted.
    """
    if not _noted():
        with suppress(OSError, UnavailableError):
            run_folder.replace(_file(), kernels_boot().encode(), folder, 0o644)


def _noted() -> str:
    """Return what was noted; "" if nothing was, or something else is in its place.

    Raises OSError if that cannot be found out: another identity would end what belongs to this boot.
    """
    with Excused(errno.ENOENT, errno.EINVAL, errno.EFBIG):
        found = read_regular(_file(), _LONGEST, follow=False)
        return found.decode() if _ID.fullmatch(found) else ""
    return ""


def _file() -> str:
    return f"{until_boot()}/boot"
