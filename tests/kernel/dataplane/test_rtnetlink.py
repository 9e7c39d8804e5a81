"""Interfaces and default routes as the kernel has them, and as it tells of changes; held against pyroute2."""

from pyroute2 import IPRoute

from geodrop.dataplane.rtnetlink import LinkEvents, default_routes, read_links
from tests.namespaces import Namespace


def test_links(netns: Namespace) -> None:
    """Numbers, names and kinds, of as many as do not fit one answer."""
    for number in range(100):
        netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
    netns.run("ip", "tuntap", "add", "tap0", "mode", "tap")
    found = read_links()
    assert len(found) == 202
    assert {"lo": "", "eth0": "veth", "tap0": "tun"}.items() <= {link.name: link.kind for link in found}.items()
    assert {link.parent for link in found} == {0}
    with IPRoute() as route:
        assert [(link.index, link.name) for link in found] == [
            (one["index"], one.get_attr("IFLA_IFNAME")) for one in route.get_links()
        ]


def test_default_routes_of_both_families(netns: Namespace) -> None:
    """IPv4, IPv6 and the hops of a multipath route; not those of other tables, nor to part of the world."""
    for number in range(5):
        netns.run("ip", "tuntap", "add", f"tap{number}", "mode", "tap")
        netns.run("ip", "address", "add", f"192.0.{number}.1/24", "dev", f"tap{number}")
        netns.run("ip", "link", "set", f"tap{number}", "up")
    assert default_routes() == set()
    netns.run("ip", "route", "add", "default", "nexthop", "via", "192.0.0.2", "nexthop", "via", "192.0.1.2")
    netns.run("ip", "-6", "route", "add", "default", "dev", "tap2")
    netns.run("ip", "route", "add", "default", "dev", "tap3", "table", "7")
    netns.run("ip", "route", "add", "0.0.0.0/1", "dev", "tap4")
    netns.run("ip", "route", "add", "unreachable", "default", "metric", "9")
    names = {link.index: link.name for link in read_links()}
    assert {names[index] for index in default_routes()} == {"tap0", "tap1", "tap2"}


def test_events(netns: Namespace) -> None:
    """Coming, going, another name and default routes are news; carrier, addresses and other routes are none."""
    with LinkEvents() as events:
        assert not events.read()
        for command, news in (
            ("link add eth0 type veth peer name far0", True),
            ("link set far0 up", False),
            ("link set eth0 up", False),
            ("address add 192.0.2.1/24 dev eth0", False),
            ("route add 198.51.100.0/24 dev eth0", False),
            ("route add default dev eth0", True),
            ("route delete default", True),
            ("link set eth0 down", False),
            ("link set eth0 name wan0", True),
            ("link delete wan0", True),
        ):
            netns.run("ip", *command.split())
            assert events.read() == news, command


def test_lost_events_are_news(netns: Namespace) -> None:
    """When the queue overflows, one has to look."""
    with LinkEvents() as events:
        events._socket.setsockopt(1, 8, 1)  # SO_RCVBUF: the kernel's least
        for number in range(30):
            netns.run("ip", "link", "set", "lo", "alias", f"{number}" * 100)
        assert events.read()
        assert not events.read()
