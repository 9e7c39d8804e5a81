# SPDX-License-Identifier: Apache-2.0
"""What a boot finds: no ruleset yet, a schedule, a pause, or a reload interrupted by a power cut."""

from __future__ import annotations

import random
import re
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import AGENT, ALLOWED, DENIED, JAPAN_DENIED, POLICY, SOME, SOURCES, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

CUTS = 3
RELOAD_SECONDS = 1.2
"""About as long as a reload takes here: a power cut comes at a random moment of it."""
SEED = 20_240_709


@pytest.fixture
def nothing_good(off: Edge) -> Edge:
    """Return a host whose first policy is wrong."""
    off.policy(POLICY.replace("version: 1", "version: one"))
    return off


def test_a_first_boot_may_stay_open(nothing_good: Edge) -> None:
    """Without a ruleset `first_boot: open` lets everybody in, and every report says so."""
    host = nothing_good
    host.power_on()
    host.assert_now((), SOURCES)
    done = host.geodrop("status")
    assert done.returncode == 3
    assert "first_boot: open" in host.machine.journal("geodrop-boot")
    assert "nothing is enforced" in host.show("geodrop.service", "StatusText")
    host.power_off()


def test_a_first_boot_may_stay_closed(nothing_good: Edge) -> None:
    """`first_boot: closed` lets nobody in before there is a policy, from the first packet on."""
    host = nothing_good
    shutil.rmtree(host.machine.root / "var/lib/geodrop")
    host.agent(AGENT + "first_boot: closed\n")
    began = time.monotonic()
    host.power_on()
    host.assert_in_force(began, time.monotonic(), SOURCES, ())
    assert "first_boot: closed" in str(host.status()["problems"])
    with host.watched(DENIED, ()):
        host.policy(POLICY)
        assert host.geodrop("reload").returncode == 0
    host.assert_now(DENIED, ALLOWED + SWITCHED)
    assert host.status()["healthy"]


def test_a_schedule_needs_no_daemon(host: Edge) -> None:
    """`starts` takes effect by the kernel's clock, neither early nor late, without a daemon; over a reboot too."""
    epoch = time.time() - time.monotonic()
    starts = int(time.time()) + 10
    text = datetime.fromtimestamp(starts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    host.policy(POLICY.replace("mode: enforce", f"mode: enforce\n    starts: {text}"))
    assert host.geodrop("reload").returncode == 0
    since = time.monotonic()
    host.machine.run("systemctl", "stop", "geodrop")
    at = starts - epoch
    assert time.monotonic() < at, "the machine is too slow for this schedule"
    host.wait_for("the moment", lambda: time.monotonic() > at + SOME)
    # A probe may wait for a while between getting its number and reaching the kernel.
    host.assert_in_force(since, at - 1, (), SOURCES)
    host.assert_in_force(at + 0.01, time.monotonic(), DENIED, ALLOWED + SWITCHED)
    host.machine.run("systemctl", "start", "geodrop")
    host.policy(POLICY)
    assert host.geodrop("reload").returncode == 0


def test_a_pause_lasts_over_a_reboot(host: Edge) -> None:
    """Every client passes until `resume`, whatever happens in between."""
    host.machine.run("geodrop", "pause", "--for", "1h", "--why", "the walk")
    host.assert_now((), SOURCES)
    host.machine.run("systemctl", "restart", "geodrop")
    host.assert_now((), SOURCES)
    host.power_off()
    host.power_on()
    host.assert_in_force(host.moment("test-network.service", "ActiveEnter"), time.monotonic(), (), SOURCES)
    found = host.status()
    assert (found["paused"], found["paused_why"], found["services"][0]["effective"]) == (True, "the walk", "monitor")
    host.machine.run("geodrop", "resume")
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_an_exemption_lasts_over_a_restart_and_a_reboot(host: Edge) -> None:
    """One client passes, from the first packet after the boot on, and no other; until its exemption is ended."""
    client, others = DENIED[0], DENIED[1:]
    host.machine.run("geodrop", "exempt", client, "--for", "1h", "--why", "CASE-7")
    host.machine.run("systemctl", "restart", "geodrop")
    host.assert_now(others, (client, *ALLOWED, *SWITCHED))
    host.power_off()
    began = time.monotonic()
    host.power_on()
    up, ended = host.moment("test-network.service", "ActiveEnter"), time.monotonic()
    host.assert_in_force(began, ended, others, ())
    host.assert_in_force(up, ended, others, (client, *ALLOWED, *SWITCHED))
    [found] = host.status()["exemptions"]
    assert (found["source"], found["in_force"], found["why"]) == (f"{client}/32", True, "CASE-7")
    assert 0 < found["seconds"] <= 3_600
    host.machine.run("geodrop", "exempt", client, "--end")
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_unloaded_stays_unloaded(host: Edge) -> None:
    """A restart or a boot does not restore what an operator removed; the next reload does."""
    host.machine.run("geodrop", "unload")
    host.machine.run("systemctl", "restart", "geodrop")
    host.power_off()
    host.power_on()
    host.assert_in_force(host.moment("test-network.service", "ActiveEnter"), time.monotonic(), (), SOURCES)
    assert host.geodrop("reload").returncode == 0
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_a_power_cut_leaves_the_old_or_the_new(host: Edge) -> None:
    """At any moment of a reload: the next boot restores one of the two, and no state file is damaged."""
    chosen = random.Random(SEED)
    digests = {}
    for policy in (JAPAN_DENIED, POLICY):
        host.policy(policy)
        assert host.geodrop("reload").returncode == 0
        digests[policy] = host.status()["digest"]
    for number in range(CUTS):
        policy = (JAPAN_DENIED, POLICY)[number % 2]
        host.policy(policy)
        host.machine.begin("geodrop", "reload")
        time.sleep(chosen.uniform(0, RELOAD_SECONDS))
        host.cut_power()
        began = time.monotonic()
        host.power_on()
        host.assert_in_force(began, time.monotonic(), DENIED, ())
        host.machine.run("journalctl", "--sync")
        booted = re.findall(
            r"ruleset ([0-9a-f]{12}) in force", host.machine.run("journalctl", "-b", "-u", "geodrop-boot")
        )
        assert len(booted) == 1
        assert booted[0] in {digest[:12] for digest in digests.values()}
        found = host.status()
        assert (found["healthy"], found["problems"], found["digest"]) == (True, [], digests[policy])
