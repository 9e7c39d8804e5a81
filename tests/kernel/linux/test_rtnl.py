# SPDX-License-Identifier: Apache-2.0
"""Interfaces and default routes are read as the kernel has them."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from geodrop.errors import UnavailableError
from geodrop.linux import netlink, rtnl
from geodrop.linux.network import LOOPBACK_TYPE, Link, Route
from geodrop.linux.rtnl import RouteMessage, read_default_routes, read_links
from tests.support.descriptors import left_open, open_descriptors
from tests.support.namespaces import namespaces

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace


def test_links(netns: Namespace) -> None:
    """Indexes, names and kinds agree with ip, for more interfaces than fit one answer."""
    for number in range(100):
        netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
    found = read_links()
    told = json.loads(netns.run("ip", "-json", "link", "show"))
    assert [(link.index, link.name) for link in found] == [(one["ifindex"], one["ifname"]) for one in told]
    assert len(found) == 201
    assert found[0] == Link(1, "lo", hardware=LOOPBACK_TYPE, mtu=65536)
    assert {link.kind for link in found[1:]} == {"veth"}
    # A veth's IFLA_LINK is its peer, and a veth is not stacked on its peer.
    assert {link.parent for link in found} == {0}


def test_what_links_are(netns: Namespace) -> None:
    """Ports and their master, stacked interfaces, alternative names, layer-3 interfaces, and up or down are read."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    netns.run("ip", "link", "add", "br0", "type", "bridge")
    netns.run("ip", "link", "set", "far0", "master", "br0")
    netns.run("ip", "link", "add", "up0", "link", "eth0", "type", "macvlan")
    netns.run("ip", "link", "set", "up0", "up")
    netns.run("ip", "link", "property", "add", "dev", "eth0", "altname", "a-name-longer-than-fifteen", "altname", "wan")
    netns.run("ip", "tuntap", "add", "tun0", "mode", "tun")
    found = {link.name: link for link in read_links()}
    assert found["far0"].master == found["br0"].index
    assert found["br0"].kind == "bridge"
    assert found["up0"].parent == found["eth0"].index
    assert (found["up0"].up, found["eth0"].up) == (True, False)
    assert found["eth0"].altnames == ("a-name-longer-than-fifteen", "wan")
    assert found["tun0"].hardware == 65534
    with namespaces("elsewhere") as [other]:
        # Its parent's index belongs to the other namespace, and may name another interface here.
        netns.run("ip", "link", "set", "up0", "netns", other.name)
        with other.entered():
            assert {link.name: link.parent for link in read_links()} == {"lo": 0, "up0": 0}


@pytest.mark.parametrize("compatible", ["1", "0"])
def test_default_routes(netns: Namespace, compatible: str) -> None:
    """Default routes of both families in all tables: plain, multipath, halves, through nexthop objects and groups.

    Routes to smaller prefixes and unreachable routes do not count. The result is the same whether or not the kernel
    repeats a nexthop object's interfaces in the route (nexthop_compat_mode).
    """
    Path("/proc/sys/net/ipv4/nexthop_compat_mode").write_text(compatible, encoding="ascii")
    for number in range(10):
        netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
        netns.run("ip", "address", "add", f"192.0.{number}.1/24", "dev", f"eth{number}")
        for end in ("far", "eth"):
            netns.run("ip", "link", "set", f"{end}{number}", "up")
    assert read_default_routes() == []
    for command in (
        "route add default nexthop via 192.0.0.2 nexthop via 192.0.1.2",
        "-6 route add default dev eth2",
        "route add default dev eth3 table 7000",
        "route add 128.0.0.0/1 dev eth4",
        "-6 route add 2000::/3 dev eth5 table 5",
        "nexthop add id 6 via 192.0.6.2 dev eth6",
        "nexthop add id 7 via 192.0.7.2 dev eth7",
        "nexthop add id 9 group 6/7",
        "route add default nhid 6 table 6",
        "route add default nhid 9 table 9",
        "route add 192.0.0.0/2 dev eth8",
        "-6 route add fc00::/7 dev eth8",
        "route add unreachable default metric 9",
        "route add local default dev lo table 8",
    ):
        netns.run("ip", *command.split())
    index = {link.name: link.index for link in read_links()}
    eth = [index[f"eth{at}"] for at in range(10)]
    assert sorted(read_default_routes(), key=lambda route: (route.family, route.table, route.outgoing)) == [
        Route(socket.AF_INET, 6, (eth[6],)),
        Route(socket.AF_INET, 9, (eth[6], eth[7])),
        Route(socket.AF_INET, 254, (eth[0], eth[1])),
        Route(socket.AF_INET, 254, (eth[4],)),
        Route(socket.AF_INET, 7000, (eth[3],)),
        Route(socket.AF_INET6, 5, (eth[5],)),
        Route(socket.AF_INET6, 254, (eth[2],)),
    ]


def test_a_route_message_has_attributes_of_its_own() -> None:
    """Nexthop objects are read even after pyroute2's own route class, which has no such attribute, was used."""
    theirs = rtmsg()
    theirs["header"] = {"type": 24, "flags": 0, "sequence_number": 1, "pid": 0}
    theirs.encode()
    sent = RouteMessage()
    sent["attrs"] = [("RTA_NH_ID", 7)]
    encoded = rtnl.request(sent, 24, 0)(1)
    found = RouteMessage(encoded)
    found.decode()
    assert found.get_attr("RTA_NH_ID") == 7


def test_what_keeps_changing_is_said(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the interfaces change during every read, an error is raised instead of half an answer."""
    del netns

    def changes(*_: object) -> None:
        raise netlink.NetlinkError(errno.EINTR)

    monkeypatch.setattr(netlink.NetlinkSocket, "_dump_once", changes)
    with pytest.raises(UnavailableError, match="keep changing"):
        read_links()


def test_no_socket_or_thread_is_left(netns: Namespace) -> None:
    """Every socket is closed again."""
    del netns
    read_links()
    before, threads = open_descriptors(), len(list(Path("/proc/self/task").iterdir()))
    for _ in range(5):
        read_links()
        read_default_routes()
    assert not left_open(before)
    assert len(list(Path("/proc/self/task").iterdir())) == threads
