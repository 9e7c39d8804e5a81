# SPDX-License-Identifier: Apache-2.0
"""The daemon with the drop-in for xdp: its user attaches, pins and goes on; root by hand may too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import AGENT, ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

OFFLINE = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_CONFIG_FILE=/dev/null"
PINS = "/run/geodrop/bpf/geodrop"
MEMINFO = "/etc/geodrop/meminfo"


def test_the_drop_in_moves_a_running_host_to_xdp(host: Edge) -> None:
    """`install.sh --xdp` on a host in service: xdp takes over from nftables without a gap."""
    assert not _on_xdp(host)
    with host.watched(DENIED, ALLOWED + SWITCHED):
        _install_xdp(host)
    assert host.status()["healthy"], host.status()["problems"]
    assert _on_xdp(host), host.status()["interfaces"]
    assert "prog/xdp" in host.machine.run("ip", "link", "show", "eth0")
    found = host.machine.run("systemd-analyze", "security", "--no-pager", "geodrop.service")
    assert float(found.split("geodrop.service: ")[-1].split()[0]) <= 1.5, found


def test_reloads_switch_xdp(host: Edge) -> None:
    """A policy changes both ways without a gap."""
    with host.watched():
        host.policy(JAPAN_DENIED)
        assert host.geodrop("reload").returncode == 0
        host.assert_now(DENIED + SWITCHED)
        host.policy(POLICY)
        assert host.geodrop("reload").returncode == 0
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_xdp_outlives_the_daemon(host: Edge) -> None:
    """After stop, start and kill of the daemon the program stays attached and its tables filled."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run("systemctl", "stop", "geodrop")
        assert _on_xdp(host)
        host.machine.run("systemctl", "start", "geodrop")
        killed = host.show("geodrop.service", "MainPID")
        host.machine.run("kill", "-9", killed)
        host.wait_for("a new daemon", lambda: host.status().get("daemon"))
    assert host.status()["healthy"], host.status()["problems"]


def test_what_was_observed_is_what_xdp_does(host: Edge) -> None:
    """Probes run through the attached program: both verdicts, on eth0, with packets that are not sent or counted."""
    first = host.status()["observed"]
    host.assert_now(DENIED, ALLOWED)
    second = host.status()["observed"]
    assert second["packets_judged"] > first["packets_judged"] > 0
    verdicts = {(one["interface"], one["service"], one["verdict"]) for one in second["probes"]}
    assert verdicts == {("eth0", "api", "drop"), ("eth0", "api", "accept")}
    assert all(one["verdict"] == one["expected"] and one["address"] for one in second["probes"])


def test_reloads_where_the_kernel_refuses_a_quick_grace_period(host: Edge) -> None:
    """As with nohz_full= (EINVAL): another way to wait for packets is taken, and xdp goes on judging."""
    drop_in = "/etc/systemd/system/geodrop.service.d/grace.conf"
    host.machine.write(drop_in, "[Service]\nSystemCallFilter=~membarrier:EINVAL\n")
    host.machine.run("systemctl", "daemon-reload")
    with host.watched(DENIED, ALLOWED):
        host.machine.run("systemctl", "restart", "geodrop")
        for policy, denied, allowed in (
            (JAPAN_DENIED, DENIED + SWITCHED, ALLOWED),
            (POLICY, DENIED, ALLOWED + SWITCHED),
        ):
            host.policy(policy)
            assert host.geodrop("reload").returncode == 0
            host.assert_now(denied, allowed)
    assert _on_xdp(host)
    host.wait_for_health()
    host.machine.run("rm", drop_in)
    host.machine.run("systemctl", "daemon-reload")
    host.machine.run("systemctl", "restart", "geodrop")


def test_memory_is_what_can_be_had_and_not_what_is_free(host: Edge) -> None:
    """As the kernel estimates it, here with a /proc/meminfo of ours: a host whose page cache has the memory takes xdp,
    one that has none takes nftables and says why.
    """
    drop_in = "/etc/systemd/system/geodrop.service.d/memory.conf"
    host.machine.write(drop_in, f"[Service]\nBindReadOnlyPaths={MEMINFO}:/proc/meminfo\n")
    _memory(host, free=20_000, available=20_000)
    host.machine.run("systemctl", "daemon-reload")
    host.agent(AGENT + "engine: nftables\n")
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run("systemctl", "restart", "geodrop")
        assert _engines(host) == {"nftables"}
        host.agent(AGENT)
        host.geodrop("reload")
        assert not _on_xdp(host)
        whys = {one.get("why", "") for one in host.status()["interfaces"]}
        assert any("20 MB are available" in why for why in whys), whys
        _memory(host, free=20_000, available=8_000_000)
        assert host.geodrop("reload").returncode == 0
        host.wait_for("xdp", lambda: _on_xdp(host))
    host.machine.run("rm", drop_in)
    host.machine.run("systemctl", "daemon-reload")
    host.wait_for_health()


def test_root_by_hand_and_the_daemon_share_pins(host: Edge) -> None:
    """With the daemon stopped root unloads and loads on xdp; the daemon goes on with root's pins."""
    machine = host.machine
    machine.run("systemctl", "stop", "geodrop")
    kept = machine.run("sh", "-c", "ls -t /var/lib/geodrop/rulesets/*.ruleset").split()[0]
    machine.run("geodrop", "unload")
    machine.run("geodrop", "load", kept)
    assert _on_xdp(host)
    assert host.geodrop("verify").returncode == 0
    machine.run("systemctl", "start", "geodrop")
    with host.watched():
        assert host.geodrop("reload").returncode == 0
    assert machine.run("find", "/run/geodrop/bpf/geodrop", "-not", "-user", "geodrop") == ""
    found = host.status()
    assert found["healthy"], found["problems"]
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_a_first_start_takes_over_a_trial_by_hand(host: Edge) -> None:
    """Root puts a ruleset on trial on a bpffs that was just mounted, before the daemon ever starts: it starts with the
    unit of the boot, and with pins and a boot ID that another /proc shows, and the trial goes on.
    """
    machine = host.machine
    kept = f"/var/lib/geodrop/rulesets/{host.status()['digest']}.ruleset"
    machine.run("systemctl", "stop", "geodrop", "geodrop-boot")
    machine.run("geodrop", "unload")
    machine.run("systemctl", "restart", "run-geodrop-bpf.mount")
    assert machine.run("stat", "--format=%U", "/run/geodrop/bpf").strip() == "root"
    machine.run("geodrop", "load", kept, "--confirm-within", "1h")
    assert _on_xdp(host)
    trial = host.status()["confirm"]["generation"]
    machine.run("systemctl", "start", "geodrop")
    assert host.status()["confirm"]["generation"] == trial
    assert _on_xdp(host)
    assert machine.run("find", "/run/geodrop/bpf/geodrop", "-not", "-user", "geodrop") == ""
    assert host.geodrop("confirm").returncode == 0
    host.wait_for_health()
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_a_boot_goes_from_nftables_to_xdp(host: Edge) -> None:
    """First nftables judges, before there are interfaces, then xdp, and nothing passes in between."""
    host.power_off()
    host.power_on()
    up = host.moment("test-network.service", "ActiveEnter")
    host.wait_for("xdp", lambda: _on_xdp(host))
    host.assert_in_force(up, up + 60, DENIED, ALLOWED + SWITCHED)


def test_a_new_interface_is_taken_over_by_xdp(host: Edge) -> None:
    """The interface is created again: nftables judges its first packets, and the daemon attaches at once."""
    with host.watched(DENIED, ()):
        host.unplug()
        host.wait_for("the end of the old one", lambda: not _on_xdp(host))
        host.plug_in()
        host.machine.run("sh", "/etc/test-network.sh")
        host.wait_for("xdp on the new one", lambda: _on_xdp(host))
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_without_the_drop_in_nftables_takes_over(host: Edge) -> None:
    """Without its right to bpf(2) the daemon judges on nftables and removes the links.

    What xdp has counted is named until root removes it.
    """
    assert _on_xdp(host)
    with host.watched(DENIED, ALLOWED + SWITCHED):
        _take_away_the_drop_in(host)
        host.wait_for("nftables", lambda: _engines(host) == {"nftables"})
    assert "xdp" not in host.machine.run("ip", "link", "show", "eth0")
    assert host.machine.run("find", f"{PINS}/links", "-type", "f") == ""
    assert host.show("geodrop.service", "NRestarts") == "0"
    assert host.word() == ("enforcing, but degraded", 1)
    [problem] = host.status()["problems"]
    assert f"rm -r {PINS}" in problem
    host.assert_now(DENIED, ALLOWED + SWITCHED)
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run("rm", "-r", PINS)
        host.wait_for_health()


def test_the_drop_in_comes_back(host: Edge) -> None:
    """`make install XDP=1` restores it: xdp takes over without a gap."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        _install_xdp(host)
        host.wait_for("xdp", lambda: _on_xdp(host))
    host.wait_for_health()


def test_back_to_nftables_by_the_runbook(host: Edge) -> None:
    """`engine: nftables` first, then the drop-in: the reload detaches the links; a boot is healthy by itself."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.agent(AGENT + "engine: nftables\n")
        assert host.geodrop("reload").returncode == 0
        assert _engines(host) == {"nftables"}
        assert "xdp" not in host.machine.run("ip", "link", "show", "eth0")
        host.wait_for_health()
        _take_away_the_drop_in(host)
    assert host.show("geodrop.service", "NRestarts") == "0"
    assert host.word()[0].startswith("enforcing")
    host.power_off()
    began = time.monotonic()
    host.power_on()
    host.assert_in_force(began, time.monotonic(), DENIED, ())
    host.wait_for_health()
    assert _engines(host) == {"nftables"}
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def _memory(host: Edge, *, free: int, available: int) -> None:
    """In kB. Written in place: it is mounted."""
    host.machine.write(MEMINFO, f"MemTotal: 16000000 kB\nMemFree: {free} kB\nMemAvailable: {available} kB\n")


def _install_xdp(host: Edge) -> None:
    host.machine.run("sh", "-c", f"{OFFLINE} /root/geodrop/deploy/install.sh --xdp /root/wheels/geodrop-*.whl")


def _take_away_the_drop_in(host: Edge) -> None:
    host.machine.run("sh", "-c", f"{OFFLINE} /root/geodrop/deploy/install.sh /root/wheels/geodrop-*.whl")


def _engines(host: Edge) -> set[str]:
    return {one["engine"] for one in host.status()["interfaces"]}


def _on_xdp(host: Edge) -> bool:
    """Whether status says that xdp judges eth0."""
    found = {one["name"]: (one["engine"], one["attach"]) for one in host.status()["interfaces"]}
    return found.get("eth0") == ("xdp", "native")
