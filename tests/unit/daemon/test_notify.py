# SPDX-License-Identifier: Apache-2.0
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.daemon import notify
from geodrop.daemon.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Return the socket that PID 1 would listen on."""
    path = tmp_path / "notify"
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.settimeout(10)
    channel.bind(str(path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return channel


def test_messages(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages of a start and a reload: RELOADING comes only after READY, and READY always follows it."""
    monkeypatch.setattr("geodrop.daemon.notify.time.monotonic_ns", lambda: 5_000_000)
    notifier = Notifier()
    steps: list[tuple[Callable[[], None], str]] = [
        (lambda: notifier.status("looking"), "STATUS=looking"),
        (lambda: notifier.reloading("compiling"), "STATUS=compiling"),
        (lambda: notifier.reloaded("loaded"), "STATUS=loaded"),
        (lambda: notifier.ready("in force"), "READY=1\nSTATUS=in force"),
        (lambda: notifier.reloading("compiling"), "RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=compiling"),
        (lambda: notifier.reloaded("failed"), "READY=1\nSTATUS=failed"),
        (notifier.ping, "WATCHDOG=1"),
        (notifier.stopping, "STOPPING=1\nSTATUS=stopping; the kernel goes on enforcing"),
    ]
    with systemd:
        for say, message in steps:
            say()
            assert systemd.recv(4096).decode() == message


def test_a_text_is_one_assignment(systemd: socket.socket) -> None:
    """A text from a compile child arrives as one assignment and sets nothing else."""
    with systemd:
        notifier = Notifier()
        for say in (notifier.status, notifier.ready, notifier.reloading, notifier.reloaded):
            say("degraded: x\nMAINPID=1\r\nWATCHDOG=trigger")
            assigned = [line.partition("=")[0] for line in systemd.recv(4096).decode().splitlines()]
            assert set(assigned) <= {"STATUS", "READY", "RELOADING", "MONOTONIC_USEC"}


def test_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address with a leading @ is in the abstract namespace."""
    name = f"geodrop-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(10)
        channel.bind(f"\0{name}")
        Notifier().ping()
        assert channel.recv(100) == b"WATCHDOG=1"


def test_children_do_not_speak_for_the_daemon(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are removed from the environment that a compile child gets."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with systemd:
        assert Notifier().watchdog == 60.0
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


def test_watchdog_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog inherited from another process is not pinged."""
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier().watchdog is None


def test_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd, or with a socket that is gone or has no listener, the daemon goes on."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready("x")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Notifier().ready("x")
    monkeypatch.setattr(notify, "SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "deaf"))
        notifier = Notifier()
        room = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        for _ in range(room + 3):
            notifier.ping()
