# SPDX-License-Identifier: Apache-2.0
"""Other programs that change firewalls on the same host: what they undo is repaired, and their own rules stay."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.daemon.compaction import QUIET
from tests.system.edge import ALLOWED, DENIED, POLICY, SOME, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

DOCKER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 198.18.0.1:8443
COMMIT
"""
"""What Docker writes for a published port; the container's address is one of the host's, where probes are counted."""


def test_a_flush_is_repaired_at_once(settled: Edge) -> None:
    """`nft flush ruleset` with a live daemon: denied packets pass only until the repair, and no allowed one is dropped.

    Log and status name the program.
    """
    # Wait for the compaction that follows a quick reload: a job under way delays the repair.
    time.sleep(QUIET + 1)
    since = time.monotonic()
    settled.machine.run("nft", "flush", "ruleset")
    began = _repaired(settled, since, "nft flush ruleset")
    entry = settled.log("repaired")[-1]
    assert entry["GEODROP_CULPRIT"].startswith("nft (process ")
    if began:
        # The time of the log entry, by the clock that all containers share, minus the seconds since the kernel's event.
        told = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6 - float(entry["GEODROP_SECONDS"])
        settled.times["`nft flush ruleset`, from the first probe that passed until the daemon knew"] = told - began


def test_a_flush_with_the_daemon_dead_lasts_until_it_starts(settled: Edge) -> None:
    """That gap is documented; the next start ends it, and status reports it meanwhile."""
    settled.machine.run("systemctl", "stop", "geodrop")
    settled.machine.run("nft", "flush", "ruleset")
    settled.assert_now((), DENIED + ALLOWED)
    assert settled.geodrop("status").returncode == 3
    settled.machine.run("systemctl", "start", "geodrop")
    settled.assert_now(DENIED, ALLOWED + SWITCHED)


def test_debians_nftables_service_flushes_everything(settled: Edge) -> None:
    """Its start and its restart both begin with `flush ruleset`; each is repaired, and what it loads stays."""
    for verb in ("start", "restart"):
        since = time.monotonic()
        settled.machine.run("systemctl", verb, "nftables")
        _repaired(settled, since, f"systemctl {verb} nftables")
        assert "table inet filter" in settled.machine.run("nft", "list", "tables")


def test_a_boot_with_nftables_service_has_no_gap(settled: Edge) -> None:
    """geodrop-boot.service comes after it, and both before the network."""
    settled.machine.run("systemctl", "enable", "nftables")
    settled.power_off()
    began = time.monotonic()
    settled.power_on()
    settled.assert_in_force(began, time.monotonic(), DENIED, ())
    tables = settled.machine.run("nft", "list", "tables")
    assert "table inet filter" in tables
    assert "table inet geodrop" in tables
    # Stopping it flushes as well; so does starting firewalld, which conflicts with it.
    since = time.monotonic()
    settled.machine.run("systemctl", "disable", "--now", "nftables")
    _repaired(settled, since, "systemctl stop nftables")


def test_ufw_and_geodrop_leave_each_other_alone(settled: Edge) -> None:
    """Enabled, reloaded and disabled: what geodrop denies never passes, and what it accepts passes once ufw lets it."""
    with settled.watched(DENIED, ()):
        settled.machine.run("ufw", "allow", "443/tcp")
        settled.machine.run("ufw", "--force", "enable")
    settled.assert_now()
    with settled.watched(DENIED, ()):
        settled.machine.run("ufw", "reload")
    _reload_leaves(settled, "ip")
    settled.assert_now()
    with settled.watched(DENIED, ()):
        settled.machine.run("ufw", "disable")


def test_firewalld_and_geodrop_leave_each_other_alone(settled: Edge) -> None:
    """Started, changed, reloaded and stopped, it changes nothing of geodrop, nor the reverse."""
    with settled.watched(DENIED, ()):
        settled.machine.run("systemctl", "start", "firewalld")
        settled.machine.run("firewall-cmd", "--permanent", "--add-port=443/tcp")
        settled.machine.run("firewall-cmd", "--reload")
    settled.assert_now()
    with settled.watched(DENIED, ()):
        settled.machine.run("firewall-cmd", "--complete-reload")
    settled.assert_now()
    with settled.watched(DENIED, ()):
        settled.machine.run("systemctl", "stop", "firewalld")


def test_dnat_does_not_lead_past_geodrop(settled: Edge) -> None:
    """Rules as Docker writes them: denied sources reach no published port, and no reload changes a byte of them."""
    settled.machine.run("iptables-restore", stdin=DOCKER)
    try:
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
        assert re.search(r"\[[1-9]\d*:\d+\] -A DOCKER .* -j DNAT", settled.machine.run("iptables-save", "-c"))
        _reload_leaves(settled, "ip")
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
    finally:
        settled.machine.run("sh", "-c", "nft delete table ip filter; nft delete table ip nat")


def test_an_interface_that_comes_back_is_judged_from_its_first_packet(settled: Edge) -> None:
    """The interface is deleted and created again, with another number."""
    assert settled.namespace
    with settled.watched(DENIED, ()):
        settled.unplug()
        time.sleep(SOME)
        settled.plug_in()
        settled.machine.run("sh", "/etc/test-network.sh")
        time.sleep(SOME)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)


def _repaired(host: Edge, since: float, what: str) -> float | None:
    """Wait for the repair: denied probes passed, if at all, between the change and the repair, and never after.

    Returns when the first of them passed, in seconds of time.monotonic(); None if none did.
    """
    host.wait_for("the repair", lambda: "table inet geodrop" in host.machine.run("nft", "list", "tables"))
    host.wait_for("health", lambda: host.status()["healthy"])
    until = time.monotonic()
    host.assert_now(DENIED, ALLOWED + SWITCHED)
    host.assert_in_force(since, until, (), ALLOWED + SWITCHED)
    assert host.probes
    leaks = [host.probes.outcome(source, since, until) for source in DENIED]
    moments = [moment for one in leaks for moment in (one.first_passed, one.last_passed) if moment]
    count = f"{sum(one.passed for one in leaks)} denied probes passed"
    host.times[f"gap after `{what}` until the repair ({count})"] = max(moments) - min(moments) if moments else 0.0
    return min(moments, default=None)


def _reload_leaves(host: Edge, family: str) -> None:
    """Check that a reload that changes everything changes nothing of the other programs' rules."""

    def neighbours() -> str:
        tables = [line.split()[1:] for line in host.machine.run("nft", "list", "tables").splitlines()]
        listed = [host.machine.run("nft", "-a", "list", "table", *table) for table in tables if table[1] != "geodrop"]
        assert any(table[0] == family for table in tables)
        return re.sub(r"packets \d+ bytes \d+", "", "".join(listed))

    before = neighbours()
    host.policy(POLICY.replace("deny: [CN,", "deny: [ZA, CN,"))
    assert host.geodrop("reload").returncode == 0
    host.policy(POLICY)
    assert host.geodrop("reload").returncode == 0
    assert neighbours() == before
