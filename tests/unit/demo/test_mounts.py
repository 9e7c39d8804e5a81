"""The demo's bpffs is seen by the demo alone."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from geodrop.demo import mounts
from geodrop.errors import UnavailableError
from geodrop.state.places import PINS

MOUNT = "from geodrop.demo.mounts import own_bpffs; own_bpffs(); print(open('/proc/self/mountinfo').read())"


@pytest.mark.root
def test_only_its_process_sees_it() -> None:
    """A bpffs is there where geodrop pins, newly mounted; outside nothing has changed, and nothing is left."""
    before = Path("/proc/self/mountinfo").read_text()
    inside = subprocess.run([sys.executable, "-c", MOUNT], check=True, capture_output=True, text=True).stdout
    # proc_pid_mountinfo(5): the mount point is the fifth field, the file system's type follows the dash.
    bpffs = [line for line in inside.splitlines() if line.split()[4:5] == [str(PINS.parent)] and " - bpf " in line]
    already = [line for line in before.splitlines() if line.split()[4] == str(PINS.parent) and " - bpf " in line]
    assert len(bpffs) == len(already) + 1
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel does not allow becomes the reason that the demo shows."""

    class Refusing:
        """A C library that may do nothing."""

        def __init__(self, name: None, *, use_errno: bool) -> None:
            del name, use_errno

        def unshare(self, flags: int) -> int:
            """EPERM, as without CAP_SYS_ADMIN."""
            del flags
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Refusing)
    with pytest.raises(UnavailableError, match=r"no bpffs can be mounted on .* \(Operation not permitted\)"):
        mounts.own_bpffs()
