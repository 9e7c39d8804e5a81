# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop.engine.interfaces import (
    Selection,
    is_prefix,
    meant,
    resolve,
    select,
    vlans_of,
    with_carried,
)
from geodrop.linux.network import Link, Network, Route
from tests.support.namespaces import namespaces, require

LINKS = (
    Link(1, "lo"),
    Link(2, "eth0"),
    Link(3, "eth1"),
    Link(4, "vlan100", "vlan", 2),
    Link(5, "vlan100.7", "vlan", 4),
    Link(6, "eth1.5", "vlan", 3),
    Link(7, "br0", "bridge"),
    Link(8, "veth0", "veth"),
    Link(9, "wg0", "wireguard"),
)


@pytest.mark.parametrize(
    ("wanted", "names", "absent"),
    [
        (["eth1"], ("eth1", "eth1.5"), ()),
        (["eth0"], ("eth0", "vlan100", "vlan100.7"), ()),
        (["wan0"], ("wan0",), ("wan0",)),
        (["eth*"], ("eth*", "vlan100", "vlan100.7"), ()),
        (["wan*"], ("wan*",), ("wan*",)),
        (["eth[1-9]"], ("eth1", "eth1.5"), ()),
        (["wan?"], (), ("wan?",)),
        (["br0", "br0"], ("br0",), ()),
        (["eth1", "eth*"], ("eth*", "vlan100", "vlan100.7"), ()),
    ],
)
def test_resolve(wanted: list[str], names: tuple[str, ...], absent: tuple[str, ...]) -> None:
    """Names bring their VLANs at any depth; a prefix is kept for future interfaces; other patterns match now."""
    found = resolve(wanted, LINKS)
    assert (found.names, found.absent) == (names, absent)
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    assert {link.name for link in found.present} == {
        link.name for link in LINKS if link.name in names or (prefixes and link.name.startswith(prefixes))
    }


def test_every_interface() -> None:
    """A lone star leaves out what is judged only if named; an interface named beside it is selected all the same."""
    found = resolve(["*", "veth0"], LINKS)
    assert "veth0" in found.names
    assert {"lo", "br0", "wg0"}.isdisjoint(link.name for link in found.present)
    assert {"eth0", "eth1", "veth0", "vlan100.7"} <= {link.name for link in found.present}
    assert "*" in found.names


def test_vlans_are_found_in_every_depth() -> None:
    """A VLAN on a VLAN belongs to the interface under both."""
    assert [link.name for link in vlans_of(LINKS[1:2], LINKS)] == ["vlan100", "vlan100.7"]


def test_alternative_names() -> None:
    """Alternative names, also in patterns, stand for their interface, whose own name the kernel matches."""
    links = (Link(2, "eth0", altnames=("enp1s0", "uplink")), Link(3, "vlan7", "vlan", 2), Link(4, "enp2s0"))
    assert resolve(["uplink"], links).names == ("eth0", "vlan7")
    assert resolve(["enp*"], links).names == ("enp*", "eth0", "vlan7")
    assert resolve(["enp1s?"], links).names == ("eth0", "vlan7")
    assert resolve(["uplink"], links).absent == ()
    # The kernel cannot wait for an alternative name that no interface has now: it is too long.
    absent = resolve(["a-name-without-interface", "eth0"], links)
    assert (absent.names, absent.absent) == (("eth0", "vlan7"), ("a-name-without-interface",))
    assert "eth0" not in resolve(["*"], links).names


ROUTES = (Route(2, 254, (2, 7)), Route(10, 100, (3,)), Route(2, 254, (1, 8)), Route(2, 51820, (9,)))


def test_without_names_those_with_a_default_route_are_meant() -> None:
    """Default routes of any table count, but not for loopback, bridges, veths and tunnels. A judged interface stays
    selected while it exists.
    """
    assert meant((), Network(LINKS, ROUTES)) == ("eth0", "eth1")
    assert meant((), Network(LINKS, ROUTES[:1])) == ("eth0",)
    assert meant((), Network(LINKS, ROUTES[:1]), held=("eth1", "br0", "wan7", "*")) == ("eth0", "eth1")
    assert meant((), Network(LINKS)) == ()
    assert meant(("wg0",), Network(LINKS, ROUTES), held=("eth0",)) == ("wg0",)


def test_what_is_left_out() -> None:
    """An interface is left out by its own or an alternative name; others are judged if named, or, without names, if
    they have a default route.
    """
    links = (*LINKS, Link(10, "mgmt0", altnames=("oob",)))
    network = Network(links, (*ROUTES, Route(2, 9, (10,))))
    assert meant(("!oob",), network) == ("eth0", "eth1")
    assert meant(("!mgmt0", "!eth1"), network, held=("eth1",)) == ("eth0",)
    assert meant(("wg0", "!mgmt0"), network) == ("wg0",)
    assert meant(("!mgmt0",), None) == ("*",)


@pytest.mark.parametrize(
    ("configured", "names"),
    [
        ((), ("*",)),
        (("eth0", "ens*"), ("eth0", "ens*")),
        (("eth[01]", "eth?", "wan0"), ("eth*", "wan0")),
        (("*th0",), ("*",)),
        (("e*0", "eth0"), ("e*", "eth0")),
        (("an-alternative-name", "eth0"), ("*", "eth0")),
    ],
)
def test_before_there_are_interfaces(configured: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Nftables matches these by itself: other patterns are widened, never narrowed."""
    assert meant(configured, None) == names


@pytest.mark.parametrize(("name", "expected"), [("eth*", True), ("*", True), ("e*h*", False), ("eth0", False)])
def test_is_prefix(name: str, expected: bool) -> None:  # noqa: FBT001
    """The kernel can match only fixed text with one star at the end."""
    assert is_prefix(name) is expected


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        ({2}, {2, 4, 5}),
        ({10}, {10, 11, 12}),
        ({11}, {11}),
        ({7}, {7}),
        ({3, 9}, {3, 6, 9}),
    ],
)
def test_what_an_interface_carries(judged: set[int], expected: set[int]) -> None:
    """An interface carries its VLANs, theirs, and the ports of a bond; ports of a bridge are judged separately or not
    at all.
    """
    bond = (Link(10, "bond0", "bond"), Link(11, "eth5", master=10), Link(12, "eth6", master=10))
    port = Link(13, "eth7", master=7)
    assert with_carried(judged, (*reversed(LINKS), port, *bond)) == expected


@pytest.mark.root
def test_select_reads_the_namespace() -> None:
    """A tunnel device is selected by its name, not for its default route; nothing is selected if no interface fits."""
    require()
    with namespaces("routes") as [netns], netns.entered():
        assert select([]).names == ()
        netns.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "tap0")
        netns.run("ip", "link", "set", "tap0", "up")
        netns.run("ip", "route", "add", "default", "via", "192.0.2.2", "dev", "tap0")
        assert select([]).names == ()
        tap = Link(2, "tap0", "tun", mtu=1500)
        found = select(["tap0", "tap9"])
        assert found == Selection(("tap0", "tap9"), ("tap9",), (tap,), found.links)
        assert [link.name for link in found.links] == ["lo", "tap0"]
