# SPDX-License-Identifier: Apache-2.0
"""Plain values for a network namespace: its interfaces, its default routes, and whether IPsec is in use.

Any module may import them cheaply. The code that asks the kernel (linux/rtnl.py) imports pyroute2, so it is imported
only when the kernel is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from socket import AF_INET, AF_INET6

ETHERNET, LOOPBACK_TYPE = 1, 772
"""ARPHRD_ETHER and ARPHRD_LOOPBACK (linux/if_arp.h): frames that begin with an Ethernet header."""

VRF = "vrf"

LONGEST_DEFAULT: dict[int, int] = {AF_INET: 1, AF_INET6: 3}
"""The longest destination prefix of a default route, in bits, by family. Default routes are 0.0.0.0/0 and ::/0, their
halves, which VPNs and some networks set instead, and 2000::/3, which is all IPv6 space that is allocated."""


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. A VLAN or macvlan is stacked on its `parent`; `master` is the bridge, bond or VRF it is a port of.

    Both are interface indexes of this namespace, 0 for none. `hardware` is the ARPHRD type. `program` is the id of the
    XDP program on it, of any owner and attach mode, 0 for none.
    """

    index: int
    name: str
    kind: str = ""
    parent: int = 0
    master: int = 0
    hardware: int = ETHERNET
    altnames: tuple[str, ...] = ()
    up: bool = True
    mtu: int = 0
    program: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The interface's name, then its alternative names."""
        return (self.name, *self.altnames)


@dataclass(frozen=True, slots=True)
class Route:
    """A default route: its table and its outgoing interfaces, with nexthop objects resolved."""

    family: int
    table: int
    outgoing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """All interfaces, the default routes of all tables, and whether the kernel holds IPsec states (None: not known)."""

    links: tuple[Link, ...]
    routes: tuple[Route, ...] = ()
    ipsec: bool | None = False

    def name_of(self, index: int) -> str:
        """Return the name of the interface with that index; empty if there is none."""
        return next((link.name for link in self.links if link.index == index), "")

    def tables(self, index: int) -> list[int]:
        """Return the tables that hold a default route out of an interface."""
        return sorted({route.table for route in self.routes if index in route.outgoing})


def read_network() -> Network:
    """Read the network namespace of the calling thread; raises UnavailableError."""
    from geodrop.linux import ipsec, rtnl  # noqa: PLC0415 - rtnl imports pyroute2

    return Network(tuple(rtnl.read_links()), tuple(rtnl.read_default_routes()), ipsec.in_use())


def is_default(family: int, length: int) -> bool:
    """Return whether a route to a destination prefix of `length` bits is a default route."""
    return length <= LONGEST_DEFAULT.get(family, -1)
