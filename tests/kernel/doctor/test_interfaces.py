# SPDX-License-Identifier: Apache-2.0
"""Doctor describes interfaces without attaching anything to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.doctor import interfaces
from geodrop.doctor.finding import MISSING, NOTE, OK
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.namespaces import Namespace


def test_driver_mtu_and_whose_program(netns: Namespace, tmp_path: Path) -> None:
    """A veth names its driver; a foreign XDP program is named by its id, and does not hinder auto."""
    assert [finding.status for finding in interfaces.findings([])] == [MISSING]
    netns.run("ip", "link", "add", "eth0", "mtu", "9000", "type", "veth", "peer", "name", "far0")
    assert interfaces.driver("eth0") == "veth"
    assert interfaces.driver("lo") == ""
    found, coming = sorted(interfaces.findings(["eth0", "eth9"]), key=lambda one: one.name)
    assert (found.status, found.found) == (OK, "driver veth, MTU 9000, native xdp likely, with xdp.frags")
    assert (coming.name, coming.status) == ("interface eth9", NOTE)
    with own_pins() as others:
        theirs = XdpEngine(pins=others)
        theirs.apply(compiled(POLICY_CN, tmp_path), 1, ["eth0"])
        [found] = interfaces.findings(["eth0"])
        assert found.status == NOTE
        assert "is not geodrop's" in found.found
        assert found.stops == ()
        theirs.remove()


def test_what_an_engine_cannot_judge(netns: Namespace) -> None:
    """Xdp refuses a layer-3 interface, nftables does not judge a port of a bridge, and IPsec moves auto to nftables."""
    netns.run("ip", "tuntap", "add", "tun0", "mode", "tun")
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    netns.run("ip", "link", "add", "br0", "type", "bridge")
    netns.run("ip", "link", "set", "eth0", "master", "br0")
    found = {finding.name: finding for finding in interfaces.findings(["eth0", "tun0"])}
    assert found["interface tun0"].status == found["interface eth0"].status == NOTE
    assert found["interface tun0"].found.startswith("tun0 carries packets without an Ethernet header")
    assert found["interface eth0"].found == "a port of br0 (bridge), where nftables meets its packets"
    assert "interfaces: IPsec" not in found
    ends = ("src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "reqid", "1", "mode", "tunnel")
    netns.run("ip", "xfrm", "state", "allocspi", *ends, "min", "256", "max", "999")
    found = {finding.name: finding for finding in interfaces.findings(["eth0", "br0"])}
    assert found["interface eth0"].status == OK
    assert found["interfaces: IPsec"].status == NOTE
