# SPDX-License-Identifier: Apache-2.0
"""The capabilities that doctor reports are the daemon's, not the caller's."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from geodrop.doctor.daemon import findings
from geodrop.doctor.finding import MISSING, OK

if TYPE_CHECKING:
    from pathlib import Path

LISTENER = """
import socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.bind(sys.argv[1])
channel.listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("-all,+net_admin", {"xdp: daemon": "not installed (CAP_BPF, CAP_PERFMON missing)"}),
        ("-all,+net_admin,+sys_admin", {}),
        (
            "-all",
            {
                "nftables: daemon": "not installed (CAP_NET_ADMIN missing)",
                "xdp: daemon": "not installed (CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON missing)",
            },
        ),
    ],
)
def test_what_the_listening_process_may_do(tmp_path: Path, given: str, missing: dict[str, str]) -> None:
    """Doctor reads the capabilities of the process at the other end of the socket, and which engine each lack stops."""
    control = str(tmp_path / "control.sock")
    command = ["setpriv", "--inh-caps", given, "--bounding-set", given, sys.executable, "-c", LISTENER, control]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        found = {one.name: one for one in findings(control)}
        process.stdin.close()
    assert found["daemon"].status == OK
    assert found["daemon"].found.startswith(f"process {process.pid} has ")
    assert {name: one.found for name, one in found.items() if one.status == MISSING} == missing
    assert all(one.stops == (name.partition(":")[0],) for name, one in found.items() if one.status == MISSING)


def test_where_none_runs(tmp_path: Path) -> None:
    """If there is no socket path, no listener or no such file, nothing is reported."""
    (tmp_path / "file").touch()
    for control in ("", str(tmp_path / "none"), str(tmp_path / "file"), os.devnull):
        assert list(findings(control)) == []
