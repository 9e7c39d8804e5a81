# SPDX-License-Identifier: Apache-2.0
"""What the routing tables say that this host depends on: its own addresses, its gateways, the networks it reaches.

Routes that a routing daemon has learned are left out: on a router they are the whole internet. The messages are split
here, without pyroute2, which takes a tenth of a second to import and as long for a few thousand routes.

Sources: linux/rtnetlink.h, rtnetlink(7).
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from geodrop.errors import UnavailableError
from geodrop.linux import netlink
from geodrop.linux.network import is_default

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

RTM_GETROUTE = 26
RTMSG = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, lengths of destination and source prefix, tos, table, protocol, scope, type, flags."""
RTA_DST, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA = 1, 5, 9, 18
RTN_UNICAST, RTN_LOCAL = 1, 2
BY_THE_HOST = frozenset({2, 3, 4, 9, 16})
"""RTPROT_KERNEL, BOOT, STATIC, RA and DHCP: routes from the host's own configuration."""
NEXTHOP = struct.Struct("=HBBi")
"""struct rtnexthop: its length with attributes, flags, hops, interface."""


class Surroundings(NamedTuple):
    """The host's own addresses, its gateways, and the destinations of its other routes; each once."""

    addresses: tuple[Address, ...]
    gateways: tuple[Address, ...]
    destinations: tuple[Network, ...]


def read_surroundings() -> Surroundings:
    """Read the routes of the calling thread's network namespace. Raises UnavailableError."""
    addresses: dict[Address, None] = {}
    gateways: dict[Address, None] = {}
    destinations: dict[Network, None] = {}
    with netlink.NetlinkSocket(socket.NETLINK_ROUTE, "learn of routes") as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            for message in _dump(kernel, family):
                _, length, _, _, _, protocol, _, kind, _ = RTMSG.unpack_from(message, netlink.HEADER.size)
                found = dict(netlink.attributes(message[netlink.HEADER.size + RTMSG.size :]))
                destination = found.get(RTA_DST)
                if kind == RTN_LOCAL and destination is not None:
                    network = ip_network((bytes(destination), length))
                    if network.prefixlen == network.max_prefixlen and not network.is_loopback:
                        addresses[network.network_address] = None
                elif kind == RTN_UNICAST and protocol in BY_THE_HOST:
                    gateways |= dict.fromkeys(_gateways(found))
                    if destination is not None and not is_default(family, length):
                        destinations[ip_network((bytes(destination), length))] = None
    return Surroundings(tuple(addresses), tuple(gateways), tuple(destinations))


def _dump(kernel: netlink.NetlinkSocket, family: int) -> list[memoryview]:
    body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    size, flags = netlink.HEADER.size + len(body), netlink.REQUEST | netlink.DUMP
    try:
        return kernel.dump(
            lambda sequence: netlink.HEADER.pack(size, RTM_GETROUTE, flags, sequence, 0) + body, _is_looked_at
        )
    except OSError as error:
        raise UnavailableError(f"the kernel does not tell its routes ({error.strerror})", "try again") from error


def _is_looked_at(message: memoryview) -> bool:
    _, _, _, _, _, protocol, _, kind, _ = RTMSG.unpack_from(message, netlink.HEADER.size)
    return kind == RTN_LOCAL or (kind == RTN_UNICAST and protocol in BY_THE_HOST)


def _gateways(found: dict[int, memoryview]) -> Iterator[Address]:
    """Yield the gateways of a route, or of one of its next hops, from their attributes."""
    if gateway := found.get(RTA_GATEWAY):
        yield _address(bytes(gateway))
    if via := found.get(RTA_VIA):
        yield _address(bytes(via[2:]))  # struct rtvia: the family, then the address
    hops = found.get(RTA_MULTIPATH, memoryview(b""))
    while len(hops) >= NEXTHOP.size:
        length = NEXTHOP.unpack_from(hops)[0]
        if length < NEXTHOP.size:
            return
        yield from _gateways(dict(netlink.attributes(hops[NEXTHOP.size : length])))
        hops = hops[-(-length // 4) * 4 :]


def _address(data: bytes) -> Address:
    return IPv4Address(data) if len(data) == 4 else IPv6Address(data)
