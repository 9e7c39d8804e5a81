# SPDX-License-Identifier: Apache-2.0
"""The child's privileges after it has dropped them, as /proc shows them from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from geodrop.compile.privileges import NOBODY
from tests.support.users import as_user

SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")

DROP = """
import json, os, resource, sys
from geodrop.compile import privileges
privileges.LIMITS[resource.RLIMIT_AS] = 1 << 30
def status():
    return dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
before = status()
privileges.drop_privileges()
try:
    bounded = not bytearray(1 << 30)
except MemoryError:
    bounded = True
try:
    os.setuid(0)
    back = True
except PermissionError:
    back = False
privileges.limit_time()
cpu = resource.getrlimit(resource.RLIMIT_CPU)
print(json.dumps({"before": before, "after": status(), "bounded": bounded, "back": back, "cpu": cpu}))
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop, and to hand on"),
]


def dropped(*prefix: str) -> dict[str, Any]:
    """Drop privileges in a process started by a command; return its state before and afterwards."""
    done = subprocess.run([*prefix, sys.executable, "-c", DROP], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["bounded"], "the limit on memory holds"
    assert not found["back"], "there is no way back to root"
    assert found["after"]["NoNewPrivs"] == "1"
    assert [int(found["after"][one], 16) for one in SETS] == [0, 0, 0, 0]
    return found


def test_root_becomes_nobody_for_good() -> None:
    """A child started by root runs as nobody, without groups, without a capability in any set, under limits."""
    found = dropped()
    assert int(found["before"]["CapEff"], 16) != 0
    after = found["after"]
    assert after["Uid"].split() == after["Gid"].split() == [str(NOBODY)] * 4
    assert after["Groups"].strip() == ""
    assert int(after["CapBnd"], 16) == 0
    assert found["cpu"] == [300, 300]


def test_ambient_capabilities_are_not_passed_on() -> None:
    """A child started by a non-root daemon with ambient CAP_NET_ADMIN does not have that capability."""
    found = dropped(*as_user(12345, "net_admin"))
    assert [int(found["before"][one], 16) for one in SETS] == [1 << 12] * 4, "the test tests something"
    assert found["after"]["Uid"].split() == ["12345"] * 4
