# SPDX-License-Identifier: Apache-2.0
"""Only the demo sees the demo's bpffs."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from geodrop.demo import mounts
from geodrop.errors import UnavailableError
from geodrop.state.places import bpffs

MOUNT = "from geodrop.demo.mounts import own_bpffs; own_bpffs(); print(open('/proc/self/mountinfo').read())"


@pytest.mark.root
def test_only_its_process_sees_it() -> None:
    """A new bpffs is mounted where geodrop pins; outside nothing changes, and nothing is left."""
    before = mounted(Path("/proc/self/mountinfo").read_text())
    inside = subprocess.run([sys.executable, "-c", MOUNT], check=True, capture_output=True, text=True).stdout
    assert len(mounted(inside)) == len(before) + 1
    assert mounted(Path("/proc/self/mountinfo").read_text()) == before


def mounted(mountinfo: str) -> list[str]:
    """Return the bpffs mounts where geodrop pins, one over the other."""
    lines = [line for line in mountinfo.splitlines() if " - bpf " in line]
    # proc_pid_mountinfo(5): the mount point is the fifth field, the file system's type follows the dash.
    return [line for line in lines if line.split()[4] == str(bpffs())]


def test_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the kernel becomes the reason that the demo shows."""

    class Refusing:
        """A C library whose system calls are refused."""

        def unshare(self, flags: int) -> int:
            """Fail with EPERM, as without CAP_SYS_ADMIN."""
            del flags
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(mounts, "LIBC", Refusing())
    with pytest.raises(UnavailableError, match=r"no bpffs can be mounted on .* \(Operation not permitted\)"):
        mounts.own_bpffs()
