"""A bpffs of a test's own, so that nothing is ever pinned where the machine pins."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.dataplane.xdp.pins import Pins
from tests.namespaces import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def own_pins() -> Iterator[Pins]:
    """A folder for pins; when it goes, everything pinned in it goes too."""
    with tempfile.TemporaryDirectory(prefix="geodrop-bpf-") as folder:
        run("mount", "-t", "bpf", "bpf", folder)
        try:
            yield Pins(Path(folder) / "geodrop")
        finally:
            run("umount", "--lazy", folder)


MOUNT = "mount -t bpf bpf /sys/fs/bpf && echo ready && exec sleep 36000"


@contextlib.contextmanager
def own_mounts() -> Iterator[tuple[str, str]]:
    """The beginning of a command line that runs where a bpffs of its own is mounted in the usual place."""
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", MOUNT], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            if holder.stdout.readline() != b"ready\n":
                raise RuntimeError("no bpffs can be mounted here")
            yield "nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"
        finally:
            holder.kill()
