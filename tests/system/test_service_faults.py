# SPDX-License-Identifier: Apache-2.0
"""Faults around the daemon on real systemd: disk, files and inputs fail, but enforcement and break glass work.

The state directory is a file system of its own, which outlives a reboot.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import PurePath
from typing import TYPE_CHECKING

import pytest

from tests.support.namespaces import run
from tests.system.edge import AGENT, ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

STATE = "/var/lib/geodrop"
SIZE = "48m"
UNWRITTEN = "not written down"


class Disk:
    """The file system of the state directory, seen from outside the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room, not even the daemon's reserve, until the block ends."""
        filler = self.folder / "filler"
        self.fill(filler)
        yield
        filler.unlink()

    def fill(self, filler: Path) -> None:
        """Take all room, repeatedly, until the daemon cannot reserve any of it again."""
        reserve = self.folder / "reserve"
        with filler.open("ab", buffering=0) as file:
            while reserve.exists() or os.statvfs(self.folder).f_bavail:
                reserve.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    while file.write(bytes(1 << 16)):
                        pass

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Make it read-only, as a kernel does after an error of the disk."""
        run("mount", "-o", "remount,ro", str(self.folder))
        yield
        run("mount", "-o", "remount,rw", str(self.folder))


@pytest.fixture(scope="module")
def disk(off: Edge) -> Iterator[Disk]:
    """Mount it before the first start of the machine."""
    folder = off.machine.root / STATE.lstrip("/")
    folder.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(folder))
    yield Disk(folder)
    off.cut_power()
    run("umount", "--lazy", str(folder))


@pytest.fixture
def settled(disk: Disk, host: Edge) -> Iterator[Edge]:
    """Yield the host, healthy before and after, with the same policy."""
    del disk
    host.wait_for_health()
    yield host
    host.wait_for_health()
    host.assert_now(DENIED, ALLOWED + SWITCHED)


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_takes_nothing_stops_nothing(settled: Edge, disk: Disk, fault: str) -> None:
    """Every verb and the repair change the kernel and warn; what could not be written is written after the next step.

    Status lists meanwhile what is not written, and that next step.
    """
    _two_policies(settled)
    with disk.full() if fault == "full" else disk.read_only():
        _warned(settled, "pause", "--for", "1h", "--why", "the disk")
        assert settled.word() == ("paused", 1)
        settled.assert_now((), DENIED + ALLOWED)
        _warned(settled, "resume")
        step = "make room there" if fault == "full" else "mount it for writing again"
        assert step in settled.problem(UNWRITTEN), settled.status()["problems"]
        assert settled.word() == ("enforcing, but degraded", 1)
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
        _warned(settled, "unload")
        assert settled.word() == ("not enforcing", 3)
        settled.assert_now((), DENIED + ALLOWED)
        _warned(settled, "reload")
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
        settled.machine.run("nft", "flush", "ruleset")
        settled.wait_for("the repair", lambda: settled.word() == ("enforcing, but degraded", 1))
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
        _warned(settled, "rollback")
        settled.assert_now(DENIED + SWITCHED, ALLOWED)
        if fault == "full":
            # A new daemon knows of it too.
            with settled.watched(DENIED + SWITCHED, ALLOWED):
                settled.machine.run("systemctl", "restart", "geodrop")
            assert settled.status()["rolled_back"]
        _warned(settled, "reload")
    settled.wait_for_health()
    assert settled.told(7) == ["pause", "resume", "unload", "reload", "repair", "rollback", "reload"]


def test_a_boot_with_a_full_disk_is_a_boot(settled: Edge, disk: Disk) -> None:
    """Before there are interfaces the last good ruleset is in force, and no unit has failed."""
    with disk.full():
        settled.power_off()
        began = time.monotonic()
        settled.power_on()
        settled.assert_in_force(began, time.monotonic(), DENIED, ())
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
        assert settled.problem(UNWRITTEN), settled.status()["problems"]
        assert settled.word() == ("enforcing, but degraded", 1)


def test_a_damaged_intent_forgets_no_pause(settled: Edge) -> None:
    """The history has it: a daemon that starts then leaves the pause as it is, says so, and ends it when asked to."""
    assert settled.geodrop("pause", "--for", "1h").returncode == 0
    settled.machine.run("systemctl", "stop", "geodrop")
    settled.machine.write(f"{STATE}/intent.json", "{damaged", 0o640)
    settled.machine.run("systemctl", "start", "geodrop")
    assert settled.word() == ("paused", 1)
    settled.assert_now((), DENIED + ALLOWED)
    assert settled.geodrop("resume").returncode == 0


def test_what_nobody_can_read_is_left_to_a_person(settled: Edge, disk: Disk) -> None:
    """Neither intent nor history can be read: an unload is possible, so nothing is loaded, and a person is asked."""
    assert settled.geodrop("unload").returncode == 0
    settled.machine.run("systemctl", "stop", "geodrop")
    history = disk.folder / "history.jsonl"
    before = history.read_bytes()
    history.write_bytes(before + b"damaged\n")
    settled.machine.write(f"{STATE}/intent.json", "{damaged", 0o640)
    settled.machine.run("systemctl", "start", "geodrop")
    assert settled.word() == ("not enforcing", 3)
    assert "geodrop reload, pause or unload" in settled.problem("intent.json"), settled.status()["problems"]
    settled.assert_now((), DENIED + ALLOWED)
    history.write_bytes(before)
    assert settled.geodrop("reload").returncode == 0


def test_a_history_that_cannot_be_written_is_a_warning(settled: Edge, disk: Disk) -> None:
    """With a directory in its place break glass works, and once the file is back no entry is missing."""
    history, aside = disk.folder / "history.jsonl", disk.folder / "aside"
    history.rename(aside)
    history.mkdir()
    with settled.watched(DENIED, ALLOWED):
        settled.machine.run("nft", "add", "set", "inet", "geodrop", "theirs", "{ type ipv4_addr; }")
        settled.wait_for("the repair", lambda: "theirs" not in settled.machine.run("nft", "-t", "list", "ruleset"))
    _warned(settled, "pause", "--for", "1h")
    assert settled.word() == ("paused", 1)
    _warned(settled, "resume")
    assert settled.word() == ("enforcing, but degraded", 1)
    assert settled.problem(UNWRITTEN), settled.status()["problems"]
    history.rmdir()
    aside.rename(history)
    settled.wait_for_health()
    assert settled.told(3) == ["repair", "pause", "resume"]


def test_an_input_that_never_ends_is_refused_at_once(settled: Edge) -> None:
    """A FIFO as agent.yaml, the policy or a list, or a device as a database: the reload fails and says what it is, and
    the next one works.
    """
    settled.machine.write("/etc/geodrop/list.txt", "192.0.2.0/24\n", 0o644)
    settled.policy(POLICY.replace("services:", "lists:\n  listed: {file: list.txt}\nservices:"))
    assert settled.geodrop("reload").returncode == 0
    for path, make, kind, code in (
        ("/etc/geodrop/agent.yaml", "mkfifo", "a FIFO", 78),
        ("/etc/geodrop/policy.yaml", "mkfifo", "a FIFO", 78),
        ("/etc/geodrop/list.txt", "mkfifo", "a FIFO", 65),
        ("/var/lib/GeoIP/country.mmdb", "ln -s /dev/zero", "a device", 65),
    ):
        settled.machine.run("sh", "-c", f"mv {path} {path}.aside; {make} {path}")
        with settled.watched(DENIED, ALLOWED + SWITCHED):
            done = settled.machine.try_run("timeout", "20", "geodrop", "reload")
        assert done.returncode == code, done
        said = f"{PurePath(path).name}: is {kind}, not a regular file"
        assert said in done.stderr
        assert settled.word() == ("enforcing, but degraded", 1)
        assert settled.problem(said), settled.status()["problems"]
        settled.machine.run("mv", f"{path}.aside", path)
        assert settled.geodrop("reload").returncode == 0
    settled.policy(POLICY)
    assert settled.geodrop("reload").returncode == 0


def test_xdp_that_is_not_to_be_had_is_no_crash_loop(settled: Edge) -> None:
    """`engine: xdp` without the drop-in: the daemon is active, nftables judges, and status says what is missing."""
    settled.agent(AGENT + "engine: xdp\n")
    with settled.watched(DENIED, ALLOWED + SWITCHED):
        settled.machine.run("systemctl", "restart", "geodrop")
        settled.machine.run("nft", "list", "table", "inet", "geodrop")
    settled.machine.run("nft", "flush", "ruleset")
    settled.wait_for("the repair", lambda: settled.word() == ("enforcing, but degraded", 1))
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    assert settled.problem("XDP=1"), settled.status()["problems"]
    assert settled.show("geodrop.service", "ActiveState") == "active"
    assert settled.show("geodrop.service", "NRestarts") == "0"
    settled.agent(AGENT)
    settled.machine.run("systemctl", "restart", "geodrop")


def _two_policies(host: Edge) -> None:
    """Load two policies, so that there is one to go back to."""
    for policy in (JAPAN_DENIED, POLICY):
        host.policy(policy)
        assert host.geodrop("reload").returncode == 0


def _warned(host: Edge, *command: str) -> None:
    """Check that a command succeeds, and warns that the result could not be written."""
    done = host.geodrop(*command)
    assert done.returncode == 0, done
    assert UNWRITTEN in done.stderr, done
