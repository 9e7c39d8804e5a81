# SPDX-License-Identifier: Apache-2.0
"""Set up a network by rtnetlink, without iproute2: a veth pair between two namespaces, addresses, routes.

Every function acts in the network namespace of the calling thread, and raises UnavailableError if the kernel refuses.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

from geodrop.errors import UnavailableError
from geodrop.linux import netlink, rtnl
from geodrop.linux.pyroute2_messages import (
    IFA_F_NODAD,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    ifaddrmsg,
    ifinfmsg,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.linux.pyroute2_messages import nlmsg_base

    Address = IPv4Address | IPv6Address

IFF_UP = 1
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST = 254, 3, 253, 1  # linux/rtnetlink.h
_NEW = netlink.ACK | netlink.CREATE | netlink.EXCL
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class NetworkSetup:
    """Changes one network namespace: the one of the thread that opened this object. Use it in a `with` block."""

    def __init__(self) -> None:
        self._kernel = netlink.NetlinkSocket(socket.NETLINK_ROUTE, "set up a network")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.close()

    def join(self, name: str, peer: str, pid: int) -> None:
        """Make a veth pair: `name` in this namespace, `peer` in the network namespace of process `pid`."""
        message = ifinfmsg()
        other = {"attrs": [("IFLA_IFNAME", peer), ("IFLA_NET_NS_PID", pid)]}
        data = {"attrs": [("VETH_INFO_PEER", other)]}
        information = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
        message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", information)]
        self._do(message, RTM_NEWLINK, _NEW, f"make interface {name}")

    def bring_up(self, name: str) -> None:
        """Set an interface up."""
        message = ifinfmsg()
        message["flags"] = message["change"] = IFF_UP
        message["attrs"] = [("IFLA_IFNAME", name)]
        self._do(message, RTM_NEWLINK, netlink.ACK, f"bring up {name}")

    def add_addresses(self, name: str, addresses: Iterable[Address]) -> None:
        """Add addresses to an interface, each as a /32 or /128.

        They are usable at once: the other end is ours too, so duplicate address detection, which would delay IPv6 by a
        second, is off.
        """
        index = self._index(name)
        for address in addresses:
            message = ifaddrmsg()
            message["family"], message["prefixlen"] = _FAMILIES[address.version], address.max_prefixlen
            message["index"], message["flags"] = index, IFA_F_NODAD if address.version == 6 else 0
            message["attrs"] = [("IFA_LOCAL", str(address)), ("IFA_ADDRESS", str(address))]
            self._do(message, RTM_NEWADDR, _NEW, f"add address {address} to {name}")

    def add_route(self, name: str, destination: Address, length: int) -> None:
        """Add an on-link route: a prefix is reached by an interface, each of its addresses as a neighbour.

        `length` is the prefix length in bits.
        """
        message = rtnl.RouteMessage()
        message["family"], message["dst_len"] = _FAMILIES[destination.version], length
        message["table"], message["proto"], message["type"] = RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST
        message["scope"] = RT_SCOPE_LINK if destination.version == 4 else 0
        message["attrs"] = [("RTA_OIF", self._index(name)), ("RTA_DST", str(destination))]
        self._do(message, RTM_NEWROUTE, _NEW, f"add a route to {destination}/{length} by {name}")

    def _index(self, name: str) -> int:
        try:
            return socket.if_nametoindex(name)
        except OSError as error:
            raise UnavailableError(f"interface {name} is not there") from error

    def _do(self, message: nlmsg_base, kind: int, flags: int, what: str) -> None:
        try:
            self._kernel.do(rtnl.request(message, kind, flags))
        except OSError as error:
            detail = f": {error.detail}" if isinstance(error, netlink.NetlinkError) and error.detail else ""
            raise UnavailableError(f"the kernel refused to {what} ({error.strerror}{detail})") from error
