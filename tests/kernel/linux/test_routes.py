# SPDX-License-Identifier: Apache-2.0
"""What the host depends on is read from its routing tables."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux import netlink
from geodrop.linux.routes import Surroundings, read_surroundings

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace


def test_addresses_gateways_and_destinations(netns: Namespace) -> None:
    """Own addresses, gateways of any form and table, and the networks that routes name; no loopback, no default."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    for end in ("eth0", "far0"):
        netns.run("ip", "link", "set", end, "up")
    netns.run("ip", "address", "add", "192.0.2.5/24", "dev", "eth0")
    netns.run("ip", "address", "add", "2001:db8::5/64", "dev", "eth0", "nodad")
    netns.run("ip", "route", "add", "default", "via", "192.0.2.1")
    netns.run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.2", "table", "77")
    netns.run("ip", "route", "add", "203.0.113.0/25", "nexthop", "via", "192.0.2.3", "nexthop", "via", "192.0.2.4")
    netns.run("ip", "route", "add", "198.18.0.0/15", "via", "inet6", "2001:db8::7", "dev", "eth0")
    netns.run("ip", "-6", "route", "add", "default", "via", "2001:db8::1")
    netns.run("ip", "route", "add", "100.64.0.0/10", "via", "192.0.2.99", "proto", "bird")
    netns.run("ip", "route", "add", "blackhole", "240.0.0.0/8")
    found = read_surroundings()
    assert {ip_address("192.0.2.5"), ip_address("2001:db8::5")} <= set(found.addresses)
    assert not any(one.is_loopback for one in found.addresses)
    gateways = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::7", "2001:db8::1"}
    assert set(found.gateways) == set(map(ip_address, gateways))
    named = {"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/25", "198.18.0.0/15", "2001:db8::/64", "fe80::/64"}
    assert set(found.destinations) == set(map(ip_network, named))


def test_an_empty_namespace(netns: Namespace) -> None:
    """A host with nothing but a loopback depends on nothing."""
    del netns
    assert read_surroundings() == Surroundings((), (), ())


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that fails is an error, and not a host without routes."""

    def refuse(*_: object) -> list[memoryview]:
        raise netlink.NetlinkError(4)

    monkeypatch.setattr(netlink.NetlinkSocket, "dump", refuse)
    with pytest.raises(UnavailableError, match="routes"):
        read_surroundings()
