"""Flowtables of others: open connections that are forwarded pass by prerouting, and so by us.

A flowtable takes packets of the connections that are in it at the ingress hook of its interfaces and sends them on, so
that no chain but those at ingress sees them. What xdp judges it has judged before. linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.linux import netlink
from geodrop.nftables.netlink import uapi, wire
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.netlink.uapi import Flag, FlowtableAttribute, FlowtableHookAttribute, Message
from geodrop.nftables.netlink.wire import NetlinkRequest

if TYPE_CHECKING:
    from collections.abc import Collection

FAMILIES = {"inet": uapi.NFPROTO_INET, "ip": uapi.NFPROTO_IPV4, "ip6": uapi.NFPROTO_IPV6}
"""Those that have flowtables, as nft calls them."""

NEXT_STEP = (
    "let xdp judge there (engine: auto or xdp), or after a reload end the connections of what is newly dropped: "
    "conntrack -D -s PREFIX"
)
"""Tried: a flowtable that a rule uses cannot be deleted, and without that rule its connections still pass by."""


@dataclass(frozen=True, slots=True)
class Bypass:
    """A flowtable, by the family and name of its table and its own, and the interfaces that it takes packets from.

    Interfaces may end in `*`.
    """

    family: str
    table: str
    name: str
    interfaces: tuple[str, ...]

    def among(self, names: Collection[str]) -> list[str]:
        """Those of some interfaces that it takes packets from."""
        prefixes = tuple(one[:-1] for one in self.interfaces if one.endswith("*"))
        return [name for name in names if name in self.interfaces or (prefixes and name.startswith(prefixes))]

    def __str__(self) -> str:
        return f"flowtable {self.name} of table {self.family} {self.table}"


def read() -> list[Bypass]:
    """All of this network namespace; raises UnavailableError, PrivilegeError."""
    with Connection() as connection:
        return [
            parse(family, answer)
            for family, number in FAMILIES.items()
            for answer in connection.dump(
                NetlinkRequest(Message.GETFLOWTABLE, Flag.REQUEST | Flag.DUMP, b"", "read flowtables", family=number)
            )
        ]


def parse(family: str, answer: memoryview) -> Bypass:
    """A flowtable as the kernel tells it, without headers."""
    found = wire.parse(answer)
    hook = wire.parse(found.get(FlowtableAttribute.HOOK, memoryview(b"")))
    devices = netlink.attributes(hook.get(FlowtableHookAttribute.DEVICES, memoryview(b"")))
    # NFTA_DEVICE_PREFIX came with Linux 6.16: a beginning, without the star.
    names = tuple(wire.text(name) + ("*" if kind == FlowtableHookAttribute.PREFIX else "") for kind, name in devices)
    return Bypass(family, wire.text(found[FlowtableAttribute.TABLE]), wire.text(found[FlowtableAttribute.NAME]), names)
