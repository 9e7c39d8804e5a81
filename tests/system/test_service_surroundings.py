# SPDX-License-Identifier: Apache-2.0
"""The surroundings of a real host: a wrong clock at the boot, saved rules, a folder of textfiles, a kernel that lacks a
part, network namespaces that are gone, and bugs of our own.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import AGENT, ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

DAYS = 30
AHEAD = f"import time; time.time = (lambda real: lambda: real() + {DAYS * 86_400})(time.time)\n"
"""A module search path file that sets every clock of geodrop's processes ahead; the kernel's stays right.

A container has the machine's clock, so this is the only way to have a wrong one here;
tests/kernel/daemon/watch/test_clock_steps.py sets a real one.
"""
FAULTY = """
import os
from geodrop.operations import repair
real = repair.inspect
def inspect(*arguments, **named):
    if os.path.exists("/run/faulty"):
        raise RuntimeError("made for a test")
    return real(*arguments, **named)
repair.inspect = inspect
"""
FRUITLESS = """
import os
from geodrop.operations import repair
inspect, repairs = repair.inspect, repair._repair
def counted(*arguments, **named):
    with open("/run/geodrop/inspections", "a") as file:
        file.write("inspection\\n")
    return inspect(*arguments, **named)
def fruitless(*arguments):
    if not os.path.exists("/run/fruitless"):
        repairs(*arguments)
repair.inspect, repair._repair = counted, fruitless
"""
"""Repairs that change nothing while a file is there, and a line for each inspection."""
LACKING = """
import errno, os
from geodrop.nftables.netlink.connection import Connection, RefusedError
real = Connection.transaction
def transaction(self, requests):
    requests = list(requests)
    if os.path.exists("/run/lacking"):
        lacking = open("/run/lacking", "rb").read() + bytes(1)
        if any(lacking in request.body for request in requests):
            raise RefusedError(errno.ENOENT, "add a rule")
    return real(self, requests)
Connection.transaction = transaction
"""
"""A kernel without an expression that a file names. A container has the machine's kernel, whose modules are not to be
taken away: so its answer is given in its place.
"""
TEXTFILES = "/var/lib/node_exporter"
WRITABLE = "/etc/systemd/system/geodrop.service.d/textfiles.conf"


@contextlib.contextmanager
def startup_code(host: Edge, text: str, module: str = "") -> Iterator[None]:
    """Run some code first in every Python process of geodrop, until the block ends."""
    [packages] = (host.machine.root / "opt").glob("geodrop-*/lib/python3*/site-packages")
    files = {packages / "test_startup.pth": text, packages / "test_startup_code.py": module}
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
    try:
        yield
    finally:
        for path in files:
            path.unlink()


def test_a_boot_whose_clock_is_ahead_ends_no_pause(settled: Edge) -> None:
    """The boot finds a pause that seems to be over; the kernel, whose clock is right, goes on letting every client
    pass.
    """
    assert settled.geodrop("pause", "--for", "2h").returncode == 0
    settled.power_off()
    with startup_code(settled, AHEAD):
        settled.power_on()
        settled.assert_now((), DENIED + ALLOWED)
    settled.machine.run("systemctl", "restart", "geodrop")
    assert settled.word() == ("paused", 1)
    assert settled.geodrop("verify").returncode == 0
    settled.assert_now((), DENIED + ALLOWED)
    assert settled.geodrop("resume").returncode == 0


def test_a_bug_in_a_task_is_a_problem_and_no_end(settled: Edge) -> None:
    """Each inspection fails: the daemon lives on and says so, the policy stays in force, and a reload works."""
    with startup_code(settled, "import test_startup_code\n", FAULTY):
        settled.machine.run("systemctl", "restart", "geodrop")
        settled.wait_for_health()
        pid = settled.show("geodrop.service", "MainPID")
        with settled.watched(DENIED, ALLOWED + SWITCHED):
            settled.machine.run("touch", "/run/faulty")
            settled.machine.run("nft", "add", "set", "inet", "geodrop", "theirs", "{ type ipv4_addr; }")
            settled.wait_for("the word", lambda: settled.word() == ("enforcing, but degraded", 1))
            settled.wait_for("the problem", lambda: settled.problem("made for a test"))
            assert settled.geodrop("reload").returncode == 0
        settled.machine.run("rm", "/run/faulty")
        # It retries with growing pauses, and at once after an event.
        settled.machine.run("nft", "add table ip theirs; delete table ip theirs")
        settled.wait_for("an inspection", lambda: not settled.problem("could not be inspected or repaired"))
        assert settled.problem("the daemon met a bug in watch: RuntimeError: made for a test, ")
        assert "theirs" not in settled.machine.run("nft", "-t", "list", "ruleset")
        assert settled.show("geodrop.service", "MainPID") == pid
        assert settled.show("geodrop.service", "NRestarts") == "0"
    settled.machine.run("systemctl", "restart", "geodrop")


def test_what_no_repair_lasts_against_backs_off(settled: Edge) -> None:
    """A foreign set is back after each repair: status names its author and the next try, and tries become rarer.

    Our own transactions wake nobody; a foreign commit leads to an inspection.
    """
    with startup_code(settled, "import test_startup_code\n", FRUITLESS):
        settled.machine.run("systemctl", "restart", "geodrop")
        settled.wait_for_health()
        before = settled.status()["generation"]
        settled.machine.run("touch", "/run/fruitless")
        with settled.watched(DENIED, ALLOWED + SWITCHED):
            settled.machine.run("nft", "add", "set", "inet", "geodrop", "theirs", "{ type ipv4_addr; }")
            settled.wait_for("two tries", lambda: settled.problem("repaired 2 times, and there again: set theirs"))
        assert settled.word() == ("enforcing, but degraded", 1)
        said = settled.problem("there again: set theirs")
        assert "last changed by nft (process " in said
        assert "tried again at 20" in said
        entries = settled.log("repair-did-not-last", 2)
        assert [entry["GEODROP_AGAIN"] for entry in entries[:2]] == ["1.0", "2.0"]
        settled.machine.run("rm", "/run/fruitless")
        settled.wait_for_health()
        assert "theirs" not in settled.machine.run("nft", "-t", "list", "table", "inet", "geodrop")
        assert settled.status()["generation"] == before
        known = _looks(settled)
        for policy in (JAPAN_DENIED, POLICY):
            settled.policy(policy)
            assert settled.geodrop("reload").returncode == 0
        assert _looks(settled) == known
        settled.machine.run("nft", "add table ip theirs; delete table ip theirs")
        settled.wait_for("a look", lambda: _looks(settled) > known)


def test_a_kernel_that_lacks_a_part(settled: Edge) -> None:
    """One that only some policies need: doctor names its option, a reload to such a policy is refused with that next
    step, and the old one stays. One that every load needs: doctor says that nothing can be enforced, a repair fails and
    says so, and succeeds once the part is there.
    """
    with startup_code(settled, "import test_startup_code\n", LACKING):
        settled.machine.run("systemctl", "restart", "geodrop")
        settled.wait_for_health()
        settled.machine.run("sh", "-c", "printf reject >/run/lacking")
        found = settled.geodrop("doctor")
        assert found.returncode == 0, found
        assert "CONFIG_NFT_REJECT_INET" in found.stdout
        settled.policy(POLICY.replace("mode: enforce", "mode: enforce\n    action: reject"))
        with settled.watched(DENIED, ALLOWED + SWITCHED):
            done = settled.geodrop("reload")
        assert done.returncode == 1, done
        assert "ENOENT" in done.stderr
        assert "geodrop doctor" in done.stderr
        assert settled.word() == ("enforcing, but degraded", 1)
        settled.policy(POLICY)
        assert settled.geodrop("reload").returncode == 0
        settled.machine.run("sh", "-c", "printf objref >/run/lacking")
        found = settled.geodrop("doctor")
        assert found.returncode == 69, found
        assert "CONFIG_NFT_OBJREF" in found.stdout
        settled.machine.run("nft", "flush", "ruleset")
        settled.wait_for("the problem", lambda: settled.problem("ENOENT"))
        assert settled.word() == ("not enforcing", 3)
        settled.machine.run("rm", "/run/lacking")
        settled.machine.run("nft", "add table ip theirs; delete table ip theirs")
        settled.wait_for_health()


def test_saved_rules_are_a_firewall_after_the_boot(settled: Edge) -> None:
    """Admins write `nft list ruleset` into /etc/nftables.conf, and the next boot loads it, our table included.

    It drops and lets in what it did before; the daemon finds nothing that it cannot repair.
    """
    settled.machine.run("systemctl", "stop", "geodrop")
    settled.machine.run("nft", "add", "table", "inet", "firewall")
    settled.machine.run("sh", "-c", "cp /etc/nftables.conf /root/; nft list ruleset > /etc/nftables.conf")
    settled.machine.run("nft", "flush", "ruleset")
    settled.machine.run("nft", "-f", "/etc/nftables.conf")
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    settled.machine.run("systemctl", "enable", "--quiet", "nftables", "geodrop")
    settled.power_off()
    began = time.monotonic()
    settled.power_on()
    settled.assert_in_force(began, time.monotonic(), DENIED, ())
    assert settled.show("nftables.service", "Result") == "success"
    assert "table inet firewall" in settled.machine.run("nft", "list", "tables")
    settled.machine.run("sh", "-c", "cp /root/nftables.conf /etc/; systemctl disable --quiet nftables")
    settled.machine.run("nft", "delete", "table", "inet", "firewall")


def test_textfile_metrics_say_that_nobody_writes_them(settled: Edge) -> None:
    """A folder that node_exporter reads: written as soon as the daemon runs, and marked once it was stopped. Who is
    killed can mark nothing: then the file shows when it was written, by which the alert goes.
    """
    settled.machine.run("install", "-d", "-o", "geodrop", TEXTFILES)
    settled.machine.write(WRITABLE, f"[Service]\nReadWritePaths={TEXTFILES}\nRestart=no\n")
    settled.agent(AGENT + f"metrics: {{textfile: {TEXTFILES}}}\n")
    settled.machine.run("systemctl", "daemon-reload")
    settled.machine.run("systemctl", "restart", "geodrop")
    settled.wait_for("the file", lambda: _textfile(settled).get("geodrop_enforcing") == 1.0)
    first = _textfile(settled)["geodrop_written_timestamp_seconds"]
    settled.machine.run("systemctl", "stop", "geodrop")
    assert _textfile(settled).get("geodrop_up") == 0.0
    assert settled.word() == ("enforcing, but degraded", 1)
    assert settled.problem("no daemon runs any more"), settled.status()["problems"]
    settled.machine.run("systemctl", "start", "geodrop")
    settled.wait_for("the file", lambda: _textfile(settled).get("geodrop_enforcing") == 1.0)
    settled.machine.run("kill", "-9", settled.show("geodrop.service", "MainPID"))
    killed = time.time()
    settled.wait_for("its end", lambda: settled.show("geodrop.service", "ActiveState") == "failed")
    assert _textfile(settled)["geodrop_enforcing"] == 1.0
    assert first < _textfile(settled)["geodrop_written_timestamp_seconds"] <= killed
    assert settled.problem("no daemon runs any more"), settled.status()["problems"]
    settled.agent(AGENT)
    settled.machine.run("rm", WRITABLE)
    settled.machine.run("systemctl", "daemon-reload")
    settled.machine.run("systemctl", "start", "geodrop")


def _looks(host: Edge) -> int:
    return len(host.machine.run("cat", "/run/geodrop/inspections").splitlines())


def _textfile(host: Edge) -> dict[str, float]:
    path: Path = host.machine.root / TEXTFILES.lstrip("/") / "geodrop.prom"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    plain = [line.split() for line in lines if line and line[0] != "#" and "{" not in line]
    return {name: float(value) for name, value in plain}
