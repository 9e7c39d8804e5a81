# SPDX-License-Identifier: Apache-2.0
"""Stacked interfaces: VLANs, bonds and VRFs. Each packet is judged once, whichever interface is selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from tests.support.emulated import COUNT, DROPPED, UNJUDGED
from tests.support.namespaces import End, PacketSender

if TYPE_CHECKING:
    from tests.support.emulated import Host

TAG = 0x8100, 5


def test_a_vlan(host: Host) -> None:
    """A VLAN is judged with its carrier, on either engine; if it is named alone, only its own packets are."""
    pair = host.plug()
    host.local()
    host.ip("link add link eth0 name eth0.5 type vlan id 5", "link set eth0.5 up")
    with PacketSender(*pair) as sender:

        def tagged(packet: bytes) -> None:
            sender.send_tagged(packet, [TAG])

        assert host.meet(pair, send=tagged) == UNJUDGED
        for generation, engine in enumerate(("nftables", "auto", "xdp"), 1):
            assert [link.name for link in host.arrange(engine, "eth0", generation=generation).present] == [
                "eth0",
                "eth0.5",
            ]
            assert host.meet(pair) == host.meet(pair, send=tagged) == DROPPED, engine
            assert host.coverage("eth0").judged == ("eth0", "eth0.5")
            assert host.coverage("eth0").problems == ()
        for generation, engine in enumerate(("nftables", "auto", "xdp"), 4):
            host.arrange(engine, "eth0.5", generation=generation)
            assert host.meet(pair, send=tagged) == DROPPED, engine
            assert host.meet(pair) == UNJUDGED, engine
            assert host.coverage("eth0.5").judged == ("eth0.5",)


def test_a_bond(host: Host) -> None:
    """Packets of either port belong to the bond, which has the default route: judged there, once, on either engine."""
    ports = bond(host)
    assert host.select() == ("bond0",)
    for generation, engine in enumerate(("nftables", "auto", "xdp"), 1):
        host.arrange(engine, generation=generation)
        for port in ports:
            assert host.meet(port) == DROPPED, (engine, port)
        assert host.coverage().judged == ("eth0", "eth1", "bond0"), engine
        assert host.coverage().problems == ()


def test_a_port_of_a_bond(host: Host) -> None:
    """A rule for a port matches nothing, which is reported; xdp judges the port, and the other port's packets pass."""
    first, second = bond(host)
    host.arrange("nftables", "eth0")
    assert host.meet(first) == UNJUDGED
    found = host.coverage("eth0")
    assert found.judged == ()
    assert found.problems[0].startswith("interface eth0 is a port of bond0 (bond), where nftables meets its packets")
    assert any(problem.startswith("interface bond0, default route in table 254") for problem in found.problems)
    host.arrange("auto", "eth0", generation=2)
    assert host.meet(first) == DROPPED
    assert host.meet(second) == UNJUDGED
    with pytest.raises(UnavailableError, match="packets on eth0 would no longer be judged: it is a port of bond0"):
        host.arrange("nftables", "eth0", generation=3)
    host.arrange("auto", "eth0", "bond0", generation=4)
    assert host.meet(first) == host.meet(second) == DROPPED
    assert host.coverage("eth0", "bond0").problems == ()


def test_a_vrf(host: Host) -> None:
    """A VRF's ports are judged under their own names, on either engine; the VRF itself only on nftables."""
    pair = host.uplink()
    vrf(host)
    assert host.select() == ("wan0",)
    assert host.meet(pair) == UNJUDGED
    for generation, engine in enumerate(("nftables", "auto", "xdp"), 1):
        host.arrange(engine, generation=generation)
        assert host.meet(pair) == DROPPED, engine
        assert host.coverage().judged == ("eth0", "wan0")
        assert host.coverage().problems == ()
    host.engines.remove()
    with pytest.raises(UnavailableError, match="vrf0 is a VRF, whose packets reach no XDP program") as caught:
        host.arrange("xdp", "vrf0")
    assert caught.value.exit_code == 69
    host.arrange("auto", "vrf0")
    assert host.engine_of() == {"vrf0": "nftables"}
    assert host.why("vrf0").startswith("vrf0 is a VRF")
    assert host.meet(pair) == DROPPED
    host.arrange("nftables", "vrf0", "wan0", generation=2)
    # A packet passes the hook under the port's name, then under the VRF's, and counts in both.
    met = host.meet(pair)
    assert (met.denied, met.allowed, met.counted["dropped CN"]) == (0, COUNT, COUNT)


def bond(host: Host) -> list[tuple[End, End]]:
    """A bond of two veth pairs, with the default route; packets are addressed to it."""
    pairs = [host.plug(number) for number in (0, 1)]
    host.local()
    host.ip("link add bond0 type bond mode balance-rr miimon 100")
    for _, port in pairs:
        host.ip(f"link set {port.name} down", f"link set {port.name} master bond0")
    host.ip("link set bond0 up", "address add 198.18.0.1/24 dev bond0", "route add default via 198.18.0.2")
    return [(far, End(host.netns, "bond0")) for far, _ in pairs]


def vrf(host: Host) -> None:
    """A VRF with one veth pair as port, and the default route in its table."""
    host.ip("link add vrf0 type vrf table 10", "link set vrf0 up", "link set wan0 master vrf0")
    host.local("wan0")
    host.ip("address add 198.18.0.1/24 dev wan0", "route add default via 198.18.0.2 vrf vrf0")
