# SPDX-License-Identifier: Apache-2.0
"""Flowtables of other programs. Open connections that they forward skip prerouting, and so the nftables engine.

A flowtable takes the packets of its connections at the ingress hook of its interfaces and forwards them, so only chains
at ingress see them. XDP judges packets earlier, so it is not affected. See linux/netfilter/nf_tables.h.
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
"""The families that have flowtables, by nft's names."""

NEXT_STEP = (
    "let xdp judge there (engine: auto or xdp), or after a reload end the connections of what is newly dropped: "
    "conntrack -D -s PREFIX"
)
"""Tried and not enough: deleting the flowtable. One that a rule uses cannot be deleted, and even without that rule its
connections skip prerouting.
"""


@dataclass(frozen=True, slots=True)
class Bypass:
    """A flowtable: the family and name of its table, its own name, and the interfaces that it takes packets from.

    Interface names may end in `*`.
    """

    family: str
    table: str
    name: str
    interfaces: tuple[str, ...]

    def among(self, names: Collection[str]) -> list[str]:
        """Return those of the given interfaces that the flowtable takes packets from."""
        prefixes = tuple(one[:-1] for one in self.interfaces if one.endswith("*"))
        return [name for name in names if name in self.interfaces or (prefixes and name.startswith(prefixes))]

    def __str__(self) -> str:
        return f"flowtable {self.name} of table {self.family} {self.table}"


def read() -> list[Bypass]:
    """Read all flowtables of this network namespace. Raises UnavailableError or PrivilegeError."""
    with Connection() as connection:
        return [
            parse(family, answer)
            for family, number in FAMILIES.items()
            for answer in connection.dump(
                NetlinkRequest(Message.GETFLOWTABLE, Flag.REQUEST | Flag.DUMP, b"", "read flowtables", family=number)
            )
        ]


def parse(family: str, answer: memoryview) -> Bypass:
    """Parse a flowtable from the kernel's answer, without its headers."""
    found = wire.parse(answer)
    hook = wire.parse(found.get(FlowtableAttribute.HOOK, memoryview(b"")))
    devices = netlink.attributes(hook.get(FlowtableHookAttribute.DEVICES, memoryview(b"")))
    # NFTA_DEVICE_PREFIX came with Linux 6.16: the beginning of a name, without the star.
    names = tuple(wire.text(name) + ("*" if kind == FlowtableHookAttribute.PREFIX else "") for kind, name in devices)
    return Bypass(family, wire.text(found[FlowtableAttribute.TABLE]), wire.text(found[FlowtableAttribute.NAME]), names)
