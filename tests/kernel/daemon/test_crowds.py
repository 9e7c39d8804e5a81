# SPDX-License-Identifier: Apache-2.0
"""What crowds of local users can take from a daemon: their own time, and no repair, change, read or scrape."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.control import frame
from geodrop.daemon.listener import PLACES
from tests.kernel.daemon.test_metrics import scrape
from tests.support.daemons import daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.daemon.conftest import Host
    from tests.support.daemons import Daemon

AT_LAST = 60.0
"""Seconds for anything that has to happen, however busy the machine is."""

CROWD = 300
VERIFY = frame.encode({"verb": "verify", "args": {"full": True}})


@contextlib.contextmanager
def crowd(connect: Callable[[], socket.socket], say: bytes = b"", count: int = CROWD) -> Iterator[None]:
    """Hold `count` connections, each replaced soon after it is closed, that send something and then nothing more."""
    over = threading.Event()

    def keep() -> None:
        held: list[socket.socket] = []
        while not over.wait(0.01):
            # OSError: there is no room in the kernel's queue.
            with contextlib.suppress(OSError):
                for _ in range(min(20, count - len(held))):
                    held.append(connect())
                    held[-1].send(say)
            for channel in [channel for channel in held if ended(channel)]:
                held.remove(channel)
                channel.close()
        for channel in held:
            channel.close()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ended(channel: socket.socket) -> bool:
    """Whether the other side has closed the connection; received data is dropped."""
    try:
        while channel.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def to_control(running: Daemon) -> Callable[[], socket.socket]:
    """Connect to the control socket, unless that would block."""

    def connect() -> socket.socket:
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(0)
        try:
            channel.connect(str(running.control))
        except OSError:
            channel.close()
            raise
        return channel

    return connect


def to_metrics(host: Host) -> Callable[[], socket.socket]:
    """Connect to the port of the metrics in the daemon's namespace; connections may not be established yet."""

    def connect() -> socket.socket:
        with host.netns.entered():
            channel = socket.socket()
        channel.settimeout(0)
        channel.connect_ex(("127.0.0.1", 9817))
        return channel

    return connect


def repaired(host: Host) -> None:
    """Flush what is in force, and wait until it is repaired."""
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    began = time.monotonic()
    while "goto" not in host.table():
        assert time.monotonic() - began < AT_LAST
        time.sleep(0.05)


def all_goes_on(host: Host) -> None:
    """Changes, repairs, reads and scrapes all work."""
    assert host.geodrop.good("pause", "--for", "1h").code == 0
    assert host.geodrop.good("resume").code == 0
    repaired(host)
    assert host.geodrop.good("status", "--json").json["healthy"]


@pytest.mark.parametrize("where", ["control", "metrics"])
def test_a_crowd_that_says_nothing(host: Host, running: Daemon, where: str) -> None:
    """A crowd takes the places meant for it, no thread, and nothing from anybody else."""
    before = running.descriptors()
    with crowd(to_control(running) if where == "control" else to_metrics(host)):
        all_goes_on(host)
        assert running.descriptors() <= before + PLACES + 8
        assert running.threads() <= 8
    assert "geodrop_healthy 1.0" in scrape(host)


def test_a_crowd_that_asks_for_much(host: Host, running: Daemon) -> None:
    """A client that asks for `verify --full` again and again waits for its turn behind everything else."""
    with crowd(to_control(running), VERIFY, PLACES // 2):
        all_goes_on(host)
        assert "geodrop_healthy 1.0" in scrape(host)
        assert host.geodrop.good("verify", "--full").code == 0


def test_hardly_any_descriptors(host: Host) -> None:
    """With a descriptor limit that crowds would reach, the daemon keeps what it needs to repair and to change."""
    with daemon(host.geodrop) as running:
        hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (64, hard))
        with crowd(to_metrics(host)), crowd(to_control(running)):
            all_goes_on(host)
        assert "geodrop_healthy 1.0" in scrape(host)
        assert "Too many open files" not in running.log
