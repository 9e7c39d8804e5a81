# SPDX-License-Identifier: Apache-2.0
"""A bpffs for each test, so that nothing is ever pinned where the machine pins.

Where a bpffs is mounted, `engine: auto` takes xdp. So tests run where none is mounted, and tests of xdp mount their
own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.demo.mounts import CLONE_NEWNS, MS_REC, MS_SLAVE
from geodrop.state.places import BPFFS, OWN_BPFFS
from geodrop.xdp.pins import Pins
from tests.support.namespaces import run

if TYPE_CHECKING:
    from collections.abc import Iterator


def without_bpffs() -> None:
    """Hide the bpffs where geodrop would pin from this thread and all that it starts; other processes still see it."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = ctypes.c_ulong(MS_REC | MS_SLAVE)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, flags, None):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "a mount namespace for the tests")
    for place in (BPFFS, OWN_BPFFS):
        while os.path.ismount(place):
            run("umount", "--lazy", place)


@contextlib.contextmanager
def own_pins() -> Iterator[Pins]:
    """A folder for pins; everything pinned in it is released when it goes."""
    with tempfile.TemporaryDirectory(prefix="geodrop-bpf-") as folder:
        run("mount", "-t", "bpf", "bpf", folder)
        try:
            yield Pins(Path(folder) / "geodrop")
        finally:
            run("umount", "--lazy", folder)


@contextlib.contextmanager
def bpffs_in_its_place() -> Iterator[None]:
    """Mount a bpffs where geodrop pins: this process and its children see it, since `without_bpffs` came before."""
    run("mount", "-t", "bpf", "bpf", BPFFS)
    try:
        yield
    finally:
        run("umount", "--lazy", BPFFS)


MOUNT = "mount -t bpf bpf /sys/fs/bpf && echo ready && exec sleep 36000"


@contextlib.contextmanager
def own_mounts() -> Iterator[tuple[str, str]]:
    """Return the beginning of a command line that runs with a new bpffs mounted in the usual place."""
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", MOUNT], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            if holder.stdout.readline() != b"ready\n":
                raise RuntimeError("no bpffs can be mounted here")
            yield "nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"
        finally:
            holder.kill()
