# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.linux.connections import TcpConnection
from geodrop.plan.operators import SshPeer, logged_in, of_this_command

if TYPE_CHECKING:
    from pathlib import Path

GIVEN = "81.2.69.142 50000 192.0.2.1 22"
PEER = SshPeer(ip_address("81.2.69.142"), ip_address("192.0.2.1"), 22)


def test_as_sshd_says_it() -> None:
    """The far end, and the local address and port, which may be another one; link-local and mapped addresses too."""
    assert of_this_command({"SSH_CONNECTION": GIVEN}) == PEER
    assert SshPeer.of("::ffff:81.2.69.142 5 ::ffff:192.0.2.1 22") == PEER
    found = SshPeer.of("fe80::1%eth0 5 fe80::2%eth0 2222")
    assert found == SshPeer(ip_address("fe80::1"), ip_address("fe80::2"), 2222)
    assert SshPeer.of(PEER.as_text()) == PEER


@pytest.mark.parametrize("text", ["", "81.2.69.142", "a b c d", "81.2.69.142 5 192.0.2.1 ssh", f"{GIVEN} 1"])
def test_a_variable_of_another_form(text: str) -> None:
    """A variable that says no connection is none, and no failure: anybody may set it."""
    assert SshPeer.of(text) is None
    assert SshPeer.of("81.2.69.142 5 192.0.2.1 0") is None


def test_the_process_above_is_asked() -> None:
    """Sudo takes the variable away from its command, and not from the shell above."""
    code = (
        "import subprocess, sys; code = 'from geodrop.plan.operators import of_this_command;"
        "print(of_this_command({}))'; sys.exit(subprocess.run([sys.executable, '-c', code]).returncode)"
    )
    environment = {**os.environ, "SSH_CONNECTION": GIVEN}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(PEER)


def test_sessions_of_logind(tmp_path: Path) -> None:
    """Only who has logged in counts: a session with a far end, and an open connection from there to port 22."""
    (tmp_path / "1").write_text("USER=alice\nREMOTE=1\nREMOTE_HOST=81.2.69.142\n")
    (tmp_path / "2").write_text("USER=root\nREMOTE=0\n")
    (tmp_path / "3").write_text("REMOTE_HOST=laptop.example\n")
    os.mkfifo(tmp_path / "1.ref")
    local = ip_address("192.0.2.1")
    scanner, ours = ip_address("1.0.0.1"), ip_address("81.2.69.142")
    found = [TcpConnection(scanner, local, 22), TcpConnection(ours, local, 443), TcpConnection(ours, local, 22)]
    assert logged_in(lambda: found, str(tmp_path)) == [PEER]
    assert logged_in(lambda: pytest.fail("nobody is logged in"), str(tmp_path / "none")) == []
