"""The daemon with the drop-in for xdp: its user attaches, pins and goes on; root by hand may too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.edge import ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

OFFLINE = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_CONFIG_FILE=/dev/null"


def test_the_drop_in_moves_a_running_host_to_xdp(host: Edge) -> None:
    """`install.sh --xdp` on a host in service: xdp takes over from nftables without a gap."""
    assert not _on_xdp(host)
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run("sh", "-c", f"{OFFLINE} /root/geodrop/deploy/install.sh --xdp /root/wheels/geodrop-*.whl")
    assert host.status()["healthy"], host.status()["problems"]
    assert _on_xdp(host), host.status()["interfaces"]
    assert "prog/xdp" in host.machine.run("ip", "link", "show", "eth0")
    found = host.machine.run("systemd-analyze", "security", "--no-pager", "geodrop.service")
    assert float(found.split("geodrop.service: ")[-1].split()[0]) <= 1.5, found


def test_reloads_switch_xdp(host: Edge) -> None:
    """A change of policy, either way."""
    with host.watched():
        host.policy(JAPAN_DENIED)
        assert host.geodrop("reload").returncode == 0
        host.assert_now(DENIED + SWITCHED)
        host.policy(POLICY)
        assert host.geodrop("reload").returncode == 0
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_xdp_outlives_the_daemon(host: Edge) -> None:
    """Stopped, started, killed: the program stays attached and its tables filled."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run("systemctl", "stop", "geodrop")
        assert _on_xdp(host)
        host.machine.run("systemctl", "start", "geodrop")
        killed = host.show("geodrop.service", "MainPID")
        host.machine.run("kill", "-9", killed)
        host.wait_for("a new daemon", lambda: host.status()["daemon"])
    assert host.status()["healthy"], host.status()["problems"]


def test_root_by_hand_and_the_daemon_share_pins(host: Edge) -> None:
    """With the daemon stopped root unloads and loads on xdp; the daemon goes on with what root pinned."""
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


def test_a_boot_goes_from_nftables_to_xdp(host: Edge) -> None:
    """First nftables, before there are interfaces, xdp once there are, and nothing leaks in between."""
    host.power_off()
    host.power_on()
    up = host.moment("test-network.service", "ActiveEnter")
    host.wait_for("xdp", lambda: _on_xdp(host))
    host.assert_in_force(up, up + 60, DENIED, ALLOWED + SWITCHED)


def test_a_new_interface_is_taken_over_by_xdp(host: Edge) -> None:
    """Deleted and made anew: nftables judges its first packets, the daemon attaches as soon as it comes."""
    with host.watched(DENIED, ()):
        host.unplug()
        host.wait_for("the end of the old one", lambda: not _on_xdp(host))
        host.plug_in()
        host.machine.run("sh", "/etc/test-network.sh")
        host.wait_for("xdp on the new one", lambda: _on_xdp(host))
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def _on_xdp(host: Edge) -> bool:
    """Whether status says so of eth0."""
    found = {one["name"]: (one["engine"], one["attach"]) for one in host.status()["interfaces"]}
    return found.get("eth0") == ("xdp", "native")
