# SPDX-License-Identifier: Apache-2.0
"""Which engine gets which interface."""

from __future__ import annotations

from geodrop.dataplane.placement import TO_COME, Placement, place
from geodrop.engine.api import Scope
from geodrop.engine.interfaces import resolve
from geodrop.linux.network import Link

ETH0, ETH1, WLAN = Link(2, "eth0"), Link(3, "eth1"), Link(4, "wlan0")
VLAN, ON_VLAN = Link(5, "eth0.7", "vlan", 2), Link(6, "inner", "vlan", 5)
LINKS = [ETH0, ETH1, WLAN, VLAN, ON_VLAN]


def test_nftables_takes_names_as_they_are() -> None:
    """To nftables, patterns, VLANs and future interfaces are all names."""
    selection = resolve(["eth0", "ppp*"], LINKS)
    assert place("nftables", selection) == Placement((), Scope(("eth0", "eth0.7", "inner", "ppp*")))


def test_xdp_takes_interfaces_that_are_there_and_vlans_with_their_carrier() -> None:
    """The program sees tagged frames: a second program on the VLAN would judge and count twice."""
    selection = resolve(["eth*", "ppp*"], LINKS)
    assert place("xdp", selection) == Placement(("eth0", "eth1"), Scope(()))
    # A VLAN whose carrier is not selected is treated like any other interface.
    assert place("xdp", resolve(["eth0.7"], LINKS)).xdp == ("eth0.7",)


def test_auto_guards_exact_names_too() -> None:
    """An interface that returns has another number and no program: nftables judges it from then on."""
    plan = place("auto", resolve(["eth0", "wlan0"], LINKS))
    assert plan.xdp == ("eth0", "wlan0")
    names = ("eth0", "eth0.7", "inner", "wlan0")
    assert plan.scope == Scope(names, (2, 5, 6, 4), dict.fromkeys(names, TO_COME))
    assert plan.only_guards


def test_ports_of_a_bond_go_with_it() -> None:
    """Packets that arrive on a port arrive on its bond. A bridge is different: it also passes frames on
    to other ports.
    """
    bond, port, vlan = Link(7, "bond0", "bond"), Link(8, "eth8", master=7), Link(9, "eth8.3", "vlan", 8)
    bridge, inside = Link(10, "br0", "bridge"), Link(11, "eth9", master=10)
    selection = resolve(["*", "br0"], [bond, port, vlan, bridge, inside])
    assert place("xdp", selection).xdp == ("bond0", "eth9", "br0")
    # Without the bond, a port is treated like any other interface.
    assert place("xdp", resolve(["eth8"], [bond, port, vlan])).xdp == ("eth8",)
    plan = place("auto", selection, {"bond0": "no room"})
    assert plan.xdp == ("eth9", "br0")
    assert {name for name, why in plan.scope.why.items() if why == "no room"} == {"bond0", "eth8", "eth8.3"}


def test_auto_guards_patterns_and_names_to_come() -> None:
    """Nftables judges new interfaces, and accepts by number what xdp judges, VLANs included."""
    plan = place("auto", resolve(["eth*", "ppp0"], LINKS))
    assert plan.xdp == ("eth0", "eth1")
    names = ("eth*", "inner", "ppp0")
    assert plan.scope == Scope(names, (2, 3, 5, 6), dict.fromkeys(names, TO_COME))
    assert plan.only_guards


def test_auto_falls_back_an_interface_at_a_time() -> None:
    """A refusal moves that interface and its VLANs, with the reason, and no other interface."""
    plan = place("auto", resolve(["eth*", "wlan0"], LINKS), {"eth0": "too large"})
    assert plan.xdp == ("eth1", "wlan0")
    assert plan.scope.elsewhere == (3, 4)
    refused = dict.fromkeys(("eth0", "eth0.7", "inner"), "too large")
    assert plan.scope.why == refused | dict.fromkeys(("eth*", "wlan0"), TO_COME)
    assert plan.scope.names == tuple(plan.scope.why)
    assert not plan.only_guards


def test_auto_without_xdp_is_nftables_with_a_reason() -> None:
    """Every name has the reason."""
    plan = place("auto", resolve(["wlan*", "ppp0"], LINKS), unavailable="no bpffs")
    assert plan.xdp == ()
    assert plan.scope == Scope(("wlan*", "ppp0"), (), {"wlan*": "no bpffs", "ppp0": "no bpffs"})
