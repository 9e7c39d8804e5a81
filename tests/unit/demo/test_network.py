# SPDX-License-Identifier: Apache-2.0
"""What the demo needs from a host, and namespaces that vanish."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from geodrop.demo.network import INTERFACE, NEEDED_CAPABILITIES, add_addresses, check_host, two_namespaces
from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.linux import capabilities


def test_every_missing_capability_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without privileges the demo names the missing capabilities, and only those."""
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset(NEEDED_CAPABILITIES) - {"CAP_SYS_ADMIN"})
    with pytest.raises(PrivilegeError, match="has no CAP_SYS_ADMIN; run it as root"):
        check_host()


def test_every_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without the programs is told which packages to install."""
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset(NEEDED_CAPABILITIES))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UnavailableError, match=r"needs programs from util-linux; install them: apt-get install util-linux$"
    ):
        check_host()


@pytest.mark.root
def test_root_has_what_it_takes() -> None:
    """The capabilities are read from the kernel: root in these tests has them."""
    assert capabilities.missing(NEEDED_CAPABILITIES) == []
    check_host()


@pytest.mark.root
def test_namespaces_are_joined_and_vanish() -> None:
    """Both ends have their addresses, the machine's own namespace sees neither end, and nothing survives."""
    before = os.listdir("/sys/class/net")
    with two_namespaces() as (api, outside):
        add_addresses(outside, map(ip_address, ["8.8.8.8", "2a00::1"]))
        assert os.listdir("/sys/class/net") == before
        shown = subprocess.run(
            outside.inside(["ip", "-brief", "address", "show", "dev", INTERFACE]),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert {"8.8.8.8/32", "2a00::1/128"} <= set(shown.split())
        pids = [api.pid, outside.pid]
        assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in [*pids, os.getpid()]}) == 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.root
def test_a_network_that_cannot_be_made_is_said() -> None:
    """A refusal of the kernel reaches the operator, and so does a namespace that is gone."""
    with two_namespaces() as (api, _):
        refused = pytest.raises(UnavailableError, match=r"cannot be set up: .*bring up no-such-device \(No such device")
        with refused, api.setup() as setup:
            setup.bring_up("no-such-device")
        assert os.readlink("/proc/thread-self/ns/net") == os.readlink("/proc/self/ns/net"), "the thread is back"
    with pytest.raises(UnavailableError, match=r"cannot be set up: /proc/\d+/ns/net cannot be entered"):
        add_addresses(api, [])
