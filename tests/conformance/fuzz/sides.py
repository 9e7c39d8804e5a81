# SPDX-License-Identifier: Apache-2.0
"""The two sides that send every shape: a denied one and an allowed one, with a separate address for each shape.

A shape's number is in its source address, so whatever a socket of the server reads shows which shape it came from, and
no two shapes meet in one reassembly queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

DENIED, ALLOWED = 1, 2
"""First byte of the IPv4 addresses of CN and US in the suite's world."""

_PREFIX = {DENIED: 0x2400, ALLOWED: 0x2600}

LOCAL = {4: ("203.0.113.1", "203.0.113.2"), 6: ("2001:db8::1", "2001:db8::2")}
"""The server's addresses."""

EMBEDDINGS = ("plain", "plain", "plain", "6to4", "nat64")
"""Ways to hold the number in an IPv6 address."""


@dataclass(frozen=True)
class Origin:
    """The side and the number of a shape."""

    side: int
    number: int

    @property
    def ipv4(self) -> bytes:
        """Return its IPv4 address."""
        return (self.side << 24 | self.number).to_bytes(4, "big")

    def ipv6(self, embedding: str) -> bytes:
        """Return its IPv6 address; the last four bytes are always those of IPv4."""
        if embedding == "6to4":
            return b"\x20\x02" + self.ipv4 + bytes(6) + self.ipv4
        if embedding == "nat64":
            return bytes.fromhex("0064ff9b") + bytes(8) + self.ipv4
        return _PREFIX[self.side].to_bytes(2, "big") + bytes(10) + self.ipv4


def origin_of(address: bytes) -> Origin:
    """Return the origin of an address of either family."""
    return Origin(address[-4], int.from_bytes(address[-3:], "big"))


def text(address: bytes) -> str:
    """Return an address as text."""
    return str(IPv4Address(address) if len(address) == 4 else IPv6Address(address))


SAMPLE = {side: {4: f"{side}.0.0.1", 6: f"{prefix:x}::1"} for side, prefix in _PREFIX.items()}
"""An address of each side and family, for questions in which it does not matter which one it is."""
