import pytest

from geodrop.dataplane.interfaces import (
    Selection,
    is_prefix,
    resolve,
    select,
    vlans_of,
    with_default_route,
)
from geodrop.dataplane.rtnetlink import Link
from tests.namespaces import namespaces, require

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
    """Names bring their VLANs, in every depth; a prefix stays one, for interfaces to come; other patterns match now."""
    found = resolve(wanted, LINKS)
    assert (found.names, found.absent) == (names, absent)
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    assert {link.name for link in found.present} == {
        link.name for link in LINKS if link.name in names or (prefixes and link.name.startswith(prefixes))
    }


def test_every_interface() -> None:
    """A lone star leaves out what is only taken when it is named; what is named beside it is taken all the same."""
    found = resolve(["*", "veth0"], LINKS)
    assert "veth0" in found.names
    assert {"lo", "br0", "wg0"}.isdisjoint(link.name for link in found.present)
    assert {"eth0", "eth1", "veth0", "vlan100.7"} <= {link.name for link in found.present}
    assert "*" in found.names


def test_vlans_are_found_in_every_depth() -> None:
    """A VLAN on a VLAN belongs to the interface below both."""
    assert [link.name for link in vlans_of(LINKS[1:2], LINKS)] == ["vlan100", "vlan100.7"]


def test_default_route_on_something_virtual_does_not_count() -> None:
    """Bridges, veths and tunnels are judged only where they are named."""
    assert with_default_route(LINKS, {1, 2, 7, 8, 9}) == ["eth0"]


@pytest.mark.parametrize(("name", "expected"), [("eth*", True), ("*", True), ("e*h*", False), ("eth0", False)])
def test_is_prefix(name: str, expected: bool) -> None:  # noqa: FBT001
    """Only a beginning and one star at the end can be left to the kernel."""
    assert is_prefix(name) is expected


@pytest.mark.root
def test_select_reads_the_namespace() -> None:
    """A tunnel device is not taken for its default route, but for its name; nothing to take selects nothing."""
    require()
    with namespaces("routes") as [netns], netns.entered():
        assert select([]) == Selection(())
        netns.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "tap0")
        netns.run("ip", "link", "set", "tap0", "up")
        netns.run("ip", "route", "add", "default", "via", "192.0.2.2", "dev", "tap0")
        assert select([]) == Selection(())
        assert select(["tap0", "tap9"]) == Selection(("tap0", "tap9"), ("tap9",), (Link(2, "tap0", "tun"),))
