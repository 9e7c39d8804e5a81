"""What this network namespace is made of: interfaces, default routes, and whether IPsec is in use. Plain values.

Everybody may import them; what asks the kernel (linux/rtnl.py), and brings pyroute2, is imported by whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from socket import AF_INET, AF_INET6

ETHERNET, LOOPBACK_TYPE = 1, 772
"""ARPHRD_ETHER and ARPHRD_LOOPBACK (linux/if_arp.h): frames that begin with an Ethernet header."""

VRF = "vrf"

LONGEST_DEFAULT: dict[int, int] = {AF_INET: 1, AF_INET6: 3}
"""How long the destination of a default route may be, in bits: 0.0.0.0/0 and ::/0, their halves, which VPNs and some
networks set in their place, and 2000::/3, which is all of IPv6 that is given out."""


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. `parent` is what it is stacked on (of a VLAN or macvlan), `master` what it is a port of.

    Both are numbers of interfaces of this namespace, 0 for none. `hardware` is its ARPHRD type, `program` the number of
    the XDP program on it, whoever attached it and however, 0 for none.
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
        """All names it answers to, its own first."""
        return (self.name, *self.altnames)


@dataclass(frozen=True, slots=True)
class Route:
    """A default route: its table, and the interfaces that it leads out of, through nexthop objects or not."""

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
        """The name of the interface with that number; empty if there is none."""
        return next((link.name for link in self.links if link.index == index), "")

    def tables(self, index: int) -> list[int]:
        """The tables in which a default route leads out of an interface."""
        return sorted({route.table for route in self.routes if index in route.outgoing})


def read_network() -> Network:
    """The network namespace of the calling thread; raises UnavailableError."""
    from geodrop.linux import ipsec, rtnl  # noqa: PLC0415 - it brings pyroute2

    return Network(tuple(rtnl.read_links()), tuple(rtnl.read_default_routes()), ipsec.in_use())


def is_default(family: int, length: int) -> bool:
    """Whether a route to a destination of that many bits is a default route."""
    return length <= LONGEST_DEFAULT.get(family, -1)
