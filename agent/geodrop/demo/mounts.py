# SPDX-License-Identifier: Apache-2.0
"""A bpffs that only the demo sees, for the xdp engine's pins. It vanishes with the demo, even if that is killed."""

from __future__ import annotations

import ctypes
import os

from geodrop.errors import UnavailableError
from geodrop.linux.libc import LIBC
from geodrop.state.places import bpffs

CLONE_NEWNS = 0x0002_0000  # linux/sched.h
MS_REC = 1 << 14  # linux/mount.h, as the next one
MS_SLAVE = 1 << 19


def own_bpffs() -> None:
    """Mount a new bpffs where geodrop pins, for this thread and every process that it starts from now on.

    Raises UnavailableError if the kernel refuses; then nothing is mounted.
    """
    place = bpffs()
    # Slave: mounts and unmounts of the host are still seen in here, but the host does not see mounts made in here.
    if (
        LIBC.unshare(CLONE_NEWNS)
        or LIBC.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_SLAVE), None)
        or LIBC.mount(b"bpf", os.fsencode(place), b"bpf", ctypes.c_ulong(0), b"mode=0700")
    ):
        why = os.strerror(ctypes.get_errno())
        raise UnavailableError(f"no bpffs can be mounted on {place} ({why})")
