# SPDX-License-Identifier: Apache-2.0
"""Which interfaces are judged, given what exists and what is in force; tests/kernel tests the same in the kernel."""

from __future__ import annotations

import pytest

from geodrop.dataplane.coverage import coverage
from geodrop.dataplane.placement import TO_COME
from geodrop.engine.api import Interface
from geodrop.linux.network import Link, Network, Route

LO, ETH0, ETH1 = Link(1, "lo", hardware=772), Link(2, "eth0"), Link(3, "eth1")
BRIDGE, PORT, INSIDE = Link(4, "br0", "bridge"), Link(5, "eth2", master=4), Link(6, "vnet0", "tun", master=4)
BOND, PORTS = Link(7, "bond0", "bond"), (Link(8, "eth3", master=7), Link(9, "eth4", master=7))
VLAN, MACVLAN = Link(10, "eth0.7", "vlan", 2), Link(11, "up0", "macvlan", 2)
VRF, MEMBER = Link(12, "blue", "vrf"), Link(13, "eth5", master=12)
TUN, WG, PPP = (
    Link(14, "tun0", "tun", hardware=65534),
    Link(15, "wg0", "wireguard", hardware=65534),
    Link(16, "ppp0", "ppp"),
)


def on_nftables(*names: str) -> list[Interface]:
    """Return interfaces for which nftables has rules."""
    return [Interface(name, "nftables") for name in names]


def on_xdp(*names: str) -> list[Interface]:
    """Return interfaces to which xdp is attached."""
    return [Interface(name, "xdp", "native") for name in names]


GUARDED = [*on_xdp("eth0"), Interface("eth0", "nftables", why=TO_COME)]


@pytest.mark.parametrize(
    ("links", "interfaces", "exempt", "expected"),
    [
        ((LO, ETH0), on_nftables("eth0"), (), {"eth0"}),
        ((LO, ETH0), on_nftables("eht0"), (), set()),
        ((LO, ETH0, ETH1, PORT), on_nftables("eth*"), (), {"eth0", "eth1", "eth2"}),
        ((LO, ETH0, BRIDGE, WG), on_nftables("*"), (), {"eth0"}),
        # A rule for a port matches nothing; a rule for its bridge matches what arrives at the port.
        ((PORT, BRIDGE), on_nftables("eth2"), (), set()),
        ((PORT, INSIDE, BRIDGE), on_nftables("br0"), (), {"eth2", "vnet0", "br0"}),
        # xdp sees frames before the bridge does: packets from outside are judged, packets from inside are not.
        ((PORT, INSIDE, BRIDGE), on_xdp("eth2"), (), {"eth2", "br0"}),
        ((PORT, Link(20, "eth9", master=4), BRIDGE), on_xdp("eth2"), (), {"eth2"}),
        ((BOND, *PORTS), on_xdp("eth3"), (), {"eth3"}),
        ((BOND, *PORTS), on_xdp("eth3", "eth4"), (), {"bond0", "eth3", "eth4"}),
        ((BOND, *PORTS), on_xdp("bond0"), (), {"bond0", "eth3", "eth4"}),
        # Veth ports of a bridge lead to guests; a bond has no such ports.
        ((BOND, PORTS[0], Link(9, "veth4", "veth", master=7)), on_xdp("eth3"), (), {"eth3"}),
        # A VRF shows packets under the name of its member first.
        ((VRF, MEMBER), on_nftables("eth5"), (), {"eth5"}),
        ((ETH0, VLAN, MACVLAN), on_xdp("eth0"), (), {"eth0", "eth0.7", "up0"}),
        ((ETH0, VLAN), on_nftables("eth0"), (), {"eth0"}),
        ((ETH0, TUN), on_xdp("eth0", "tun0"), (), {"eth0"}),
        # nftables accepts, by number, what xdp judges; if xdp does not judge it, no engine does.
        ((ETH0, ETH1), GUARDED, (2,), {"eth0"}),
        ((ETH0,), GUARDED[1:], (2,), set()),
        ((Link(30, "eth0"),), GUARDED[1:], (2,), {"eth0"}),
    ],
)
def test_judged(
    links: tuple[Link, ...], interfaces: list[Interface], exempt: tuple[int, ...], expected: set[str]
) -> None:
    """An interface is judged by rules that match it, by programs, and through masters and ports."""
    assert set(coverage((), Network(links), interfaces, exempt).judged) == expected


def test_what_each_interface_in_force_judges() -> None:
    """Links are listed in the order of the interfaces; none if an interface waits, or if nftables never sees its
    packets.
    """
    network = Network((LO, ETH0, ETH1, PORT, BRIDGE))
    interfaces = [*on_xdp("eth0"), *on_nftables("eth*", "eth2", "br0", "wan0", "*")]
    assert coverage((), network, interfaces, (2,)).links == (("eth0",), ("eth1",), (), ("br0",), (), ("eth1",))


MAIN, OTHER = Route(2, 254, (2,)), Route(2, 100, (3,))


@pytest.mark.parametrize(
    ("configured", "links", "routes", "interfaces", "said"),
    [
        (("eth0",), (ETH0,), (MAIN,), on_nftables("eth0"), ()),
        (("eht0",), (ETH0,), (), on_nftables("eht0"), ("no interface eht0 is there: mistyped, renamed",)),
        # A pattern may match nothing now; a name may be an alternative name.
        (("eth0", "wlan*"), (ETH0,), (), on_nftables("eth0", "wlan*"), ()),
        (("wan",), (Link(2, "eth0", altnames=("wan",)),), (), on_nftables("eth0"), ()),
        (
            ("wan",),
            (Link(2, "eth0", altnames=("wan",)),),
            (),
            on_nftables("wan"),
            ("interface eth0 is up, but no engine",),
        ),
        # Renamed: the name is gone, and the interface with the default route is not judged.
        (
            ("eth0",),
            (Link(2, "wan0"),),
            (MAIN,),
            on_nftables("eth0"),
            ("no interface eth0", "interface wan0, default route in table 254, is up, but no engine"),
        ),
        (
            ("eth0",),
            (ETH0, ETH1),
            (MAIN, OTHER),
            on_nftables("eth0"),
            ("interface eth1, default route in table 100, is up, but no engine judges its packets; next: name it",),
        ),
        ((), (ETH0, ETH1), (MAIN, OTHER), on_nftables("eth0"), ("interface eth1, default route in table 100",)),
        (("eth0",), (ETH0, Link(3, "eth1", up=False)), (MAIN, OTHER), on_nftables("eth0"), ()),
        (("eth0",), (ETH0, ETH1), (MAIN,), on_nftables("eth0"), ()),
        (("eth0", "!eth1"), (ETH0, ETH1), (MAIN, OTHER), on_nftables("eth0"), ()),
        (("eth2",), (PORT, BRIDGE), (), on_nftables("eth2"), ("interface eth2 is a port of br0 (bridge)",)),
        (("eth2",), (PORT, BRIDGE), (Route(2, 254, (4,)),), on_xdp("eth2"), ()),
        (("eth0",), (ETH0, BRIDGE), (Route(2, 254, (4,)),), on_nftables("eth0"), ("interface br0, default route",)),
        (("eth0",), (ETH0, PPP), (Route(2, 254, (16,)),), on_nftables("eth0"), ("interface ppp0, default route",)),
        # A tunnel's packets came in by another interface, so a full tunnel is no uplink.
        (("eth0",), (ETH0, WG), (MAIN, Route(2, 51820, (15,))), on_nftables("eth0"), ()),
        (("tun0",), (TUN,), (), on_xdp("tun0"), ("interface tun0 is up", "tun0 carries packets without an Ethernet")),
    ],
)
def test_problems(
    configured: tuple[str, ...],
    links: tuple[Link, ...],
    routes: tuple[Route, ...],
    interfaces: list[Interface],
    said: tuple[str, ...],
) -> None:
    """Each problem has a next step; interfaces that are judged as meant cause none."""
    problems = coverage(configured, Network(links, routes), interfaces, ()).problems
    assert len(problems) == len(said), problems
    for problem, text in zip(problems, said, strict=True):
        assert problem.startswith(text)
        assert "; next: " in problem


def test_ipsec_beside_xdp_is_told() -> None:
    """Xdp never sees what ESP holds; nftables sees it after decryption."""
    network = Network((ETH0, ETH1), (), ipsec=True)
    [problem] = coverage(("eth0",), network, on_xdp("eth0"), ()).problems
    assert problem.startswith("IPsec is in use, and xdp, which judges eth0, never sees what ESP holds; next: ")
    assert coverage(("eth0",), network, on_nftables("eth0"), ()).problems == ()
