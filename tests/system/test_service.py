# SPDX-License-Identifier: Apache-2.0
"""The units on real systemd: start, reload, restart, death and stop, with every packet judged right meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

BOOT_SECONDS = 1.0
"""From the start of geodrop-boot.service until the last good ruleset is in force, on an idle machine."""

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_the_first_start_loads_the_policy(host: Edge) -> None:
    """After the first boot the unit is active and healthy, and from then on every packet is judged right."""
    assert host.show("geodrop.service", "ActiveState") == "active"
    with host.watched(DENIED, ALLOWED + SWITCHED):
        found = host.status()
    assert (found["enforcing"], found["healthy"], found["daemon"]) == (True, True, True), found
    assert "generation 0 -> 1" in host.show("geodrop.service", "StatusText")


def test_a_good_reload_switches_in_between_two_packets(host: Edge) -> None:
    """`systemctl reload` ends when the new policy is in force: what it denies passes before, and never after."""
    host.policy(JAPAN_DENIED)
    with host.watched():
        began = time.monotonic()
        done = host.systemctl("reload", "geodrop")
        host.times["reload, command to answer"] = time.monotonic() - began
    assert done.returncode == 0, done.stderr + host.machine.journal("geodrop")
    host.assert_now(DENIED + SWITCHED)
    host.policy(POLICY)
    assert host.geodrop("reload").returncode == 0
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_a_refused_policy_changes_nothing(host: Edge) -> None:
    """The reload fails with the error's position in the policy, and the old policy stays in force.

    The unit stays active, and status reports the failure until the next good reload.
    """
    host.policy(POLICY.replace("default: allow", "default: perhaps"))
    before = host.status()
    with host.watched(DENIED, ALLOWED + SWITCHED):
        done = host.geodrop("reload")
        assert done.returncode == 78, done
        assert "policy.yaml" in done.stderr
        assert host.systemctl("reload", "geodrop").returncode != 0
        assert host.show("geodrop.service", "ActiveState") == "active"
        assert host.show("geodrop.service", "ExecReload").count("status=78") == 1
        after = host.status()
    assert (after["generation"], after["digest"]) == (before["generation"], before["digest"])
    assert not after["healthy"]
    assert any("perhaps" in problem for problem in after["problems"]), after["problems"]
    host.policy(POLICY)
    assert host.geodrop("reload").returncode == 0
    assert host.status()["healthy"]


def test_a_held_change_waits_for_a_person(host: Edge) -> None:
    """A reload beyond the limits fails visibly, and what is in force stays, over a restart too, until exactly these
    bytes are accepted.
    """
    host.policy(JAPAN_DENIED.replace("blast_radius: 20%", "blast_radius: 1%"))
    before = host.status()
    with host.watched(DENIED, ALLOWED + SWITCHED):
        assert host.systemctl("reload", "geodrop").returncode != 0
        assert host.show("geodrop.service", "ExecReload").count("status=5") == 1
        [limit] = host.status()["held"]
        assert host.machine.journal("geodrop").count(f"geodrop reload --accept {limit['accept']}")
        host.machine.run("systemctl", "restart", "geodrop")
        after = host.status()
    assert (after["generation"], after["state"]) == (before["generation"], "enforcing, but degraded")
    assert host.geodrop("reload", "--accept", after["held"][0]["accept"]).returncode == 0
    host.assert_now(DENIED + SWITCHED)
    host.policy(POLICY)
    assert host.geodrop("reload").returncode == 0
    assert host.status()["healthy"]


def test_an_unchanged_reload_does_nothing(host: Edge) -> None:
    """The reload says so, and the generation stays."""
    before = host.status()["generation"]
    with host.watched():
        began = time.monotonic()
        done = host.geodrop("reload")
        host.times["reload of what is in force already"] = time.monotonic() - began
    assert "unchanged" in done.stdout
    assert host.status()["generation"] == before


def test_restarts_leave_no_gap(host: Edge) -> None:
    """The kernel goes on while no daemon runs; the new daemon takes over what is there."""
    before = host.status()["generation"]
    with host.watched(DENIED, ALLOWED + SWITCHED):
        began = time.monotonic()
        host.machine.run("systemctl", "restart", "geodrop")
        host.times["restart of the daemon, until it is ready"] = time.monotonic() - began
    assert host.status()["generation"] == before


def test_a_killed_daemon_comes_back(host: Edge) -> None:
    """After kill -9 systemd starts another daemon; the kernel never stopped."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        killed = host.show("geodrop.service", "MainPID")
        host.machine.run("kill", "-9", killed)
        at = time.monotonic()
        back = host.wait_for("a new daemon", lambda: _ready(host, killed))
    host.times["kill -9 of the daemon, until another is ready"] = back - at
    assert host.status()["healthy"]


def test_a_stopped_daemon_leaves_its_work(host: Edge) -> None:
    """Stop keeps enforcing, status says so without a daemon, and start takes over."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run("systemctl", "stop", "geodrop")
        found = host.status()
        assert (found["enforcing"], found["daemon"]) == (True, False)
        host.machine.run("systemctl", "start", "geodrop")
        assert host.status()["daemon"]


def test_a_reboot_enforces_before_there_are_interfaces(host: Edge) -> None:
    """geodrop-boot.service is done before the network comes up; every packet from the first on is judged right."""
    host.power_off()
    began = time.monotonic()
    host.power_on()
    ended = time.monotonic()
    host.times["boot, until systemd is done"] = ended - began
    started = host.moment("geodrop-boot.service", "InactiveExit")
    in_force = host.moment("geodrop-boot.service", "ActiveEnter")
    host.times["boot: in force, after the start of geodrop-boot.service"] = in_force - started
    spent = int(host.show("geodrop-boot.service", "CPUUsageNSec")) / 1e9
    host.times["boot: in force, processor time of it"] = spent
    # The wall clock depends on the load of this machine, and even processor time on the other users of the core.
    assert spent < 2 * BOOT_SECONDS
    up = host.moment("test-network.service", "ActiveEnter")
    assert in_force < host.moment("test-network.service", "InactiveExit")
    host.times["boot: the network is up, after that"] = up - in_force
    host.assert_in_force(began, ended, DENIED, ())
    host.assert_in_force(up, ended, DENIED, ALLOWED + SWITCHED)
    assert host.status()["healthy"], host.status()["problems"]


def _ready(host: Edge, before: str) -> bool:
    pid, state = host.show("geodrop.service", "MainPID"), host.show("geodrop.service", "ActiveState")
    return pid not in ("0", before) and state == "active"
