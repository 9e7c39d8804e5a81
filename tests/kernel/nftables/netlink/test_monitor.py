# SPDX-License-Identifier: Apache-2.0
"""Foreign commits to nf_tables are noticed and named; our own are not."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import pytest

from geodrop.nftables.netlink import messages
from geodrop.nftables.netlink.connection import OWN_PORTS, OWN_PORTS_MASK, Connection
from geodrop.nftables.netlink.monitor import Commit, CommitMonitor, muted

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

PROC_PID_INIT_INO = 0xEFFF_FFFC  # linux/proc_ns.h


class Foreigner:
    """Another program that commits to nf_tables and stays alive. Inside the `with` block it runs in a namespace."""

    COMMIT = """
import sys
from geodrop.nftables.netlink import connection, messages
connection.OWN_PORTS = 0  # the kernel picks the port
for _ in sys.stdin:
    with connection.Connection() as opened:
        opened.transaction([messages.new_table("theirs")])
    print(flush=True)
"""

    def __init__(self, netns: Namespace) -> None:
        command = ["nsenter", f"--net=/run/netns/{netns.name}", sys.executable, "-c", self.COMMIT]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def commit(self) -> None:
        """Make a table, and return once it is made."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "\n"


def numbers_are_the_kernels() -> bool:
    """Whether the ids that the kernel reports are valid here. In a container of its own they name no process."""
    return os.stat("/proc/self/ns/pid").st_ino == PROC_PID_INIT_INO


def test_a_foreign_commit_is_told_with_its_process(netns: Namespace) -> None:
    """One commit of `nft` is one event however many messages it has; it names the user if the process still runs."""
    with CommitMonitor() as changes:
        netns.nft("table ip theirs { chain one { }\n set two { type ipv4_addr; elements = { 192.0.2.1 } }\n }\n")
        assert select.select([changes], [], [], 5)[0]
        [change] = changes.read()
        assert change.name == "nft"
        assert change.process > 0
        assert str(change.process) in change.culprit
        assert changes.read() == []
        with Foreigner(netns) as process:
            process.commit()
            [change] = changes.read()
            if numbers_are_the_kernels():
                assert (change.process, change.user) == (process.pid, os.getuid())
                assert change.culprit == f"{change.name} (process {process.pid}, user {os.getuid()})"
            else:
                assert change.culprit == f"{change.name} (process {change.process})"


def test_our_own_commits_never_reach_the_listener(netns: Namespace) -> None:
    """A thousand commits of ours leave nothing to read, so loads are not slowed down and the queue never overflows."""
    with CommitMonitor() as changes, Connection() as connection:
        for _ in range(500):
            connection.transaction([messages.new_table("ours")])
            connection.transaction([messages.delete_table()])
        assert changes.read() == []
        netns.nft("add table ip theirs\n")
        assert [change.name for change in changes.read()] == ["nft"]


def test_a_fill_is_not_heard_but_not_forgotten(netns: Namespace) -> None:
    """A monitor muted for a fill reports a foreign commit afterwards, and receives events again."""
    with CommitMonitor() as changes, Connection() as connection:
        with muted(connection):
            netns.nft("add table ip theirs\n")
            assert not select.select([changes], [], [], 0.1)[0]
        assert select.select([changes], [], [], 5)[0]
        assert changes.read() == [Commit()]
        assert changes.read() == []
        netns.nft("add table ip others\n")
        assert [change.name for change in changes.read()] == ["nft"]
    with Connection() as connection, muted(connection):
        netns.nft("add table ip after\n")


@pytest.mark.usefixtures("netns")
def test_a_fill_of_our_own_wakes_nobody() -> None:
    """A fill of any number of commits is no event if the kernel counts no foreign ones."""
    with CommitMonitor() as changes, Connection() as connection:
        with muted(connection):
            for _ in range(3):
                connection.transaction([messages.new_table("ours")])
                connection.transaction([messages.delete_table()])
        assert not select.select([changes], [], [], 0)[0]
        assert changes.read() == []


def test_lost_events_are_a_change_by_an_unknown_process(netns: Namespace) -> None:
    """When the queue overflows, the monitor reports an unknown change instead of nothing."""
    with CommitMonitor() as changes:
        changes._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least: a few messages
        for number in range(30):
            netns.nft(f"add table ip t{number}\n")
        found = changes.read()
        assert Commit() in found
        assert "nft" in {change.name for change in found}
    assert Commit().culprit == "an unknown process"


@pytest.mark.usefixtures("netns")
def test_many_connections_find_ports() -> None:
    """Connections open at the same time have distinct ports, all in the range that monitors leave out."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(Connection()) for _ in range(50)]
        ports = {connection._kernel.socket.getsockname()[0] for connection in made}
    assert len(ports) == len(made)
    assert {port & OWN_PORTS_MASK for port in ports} == {OWN_PORTS}
