# SPDX-License-Identifier: Apache-2.0
"""Which sources a ramp drops, written from the kernel's header of jhash and docs/policy.md, not from geodrop's code."""

from __future__ import annotations

import hashlib
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

BUCKETS = 10_000
WORD = 1 << 32


def bucket(service: str, source: str) -> int:
    """Return the bucket of a source for a service."""
    seed = int(hashlib.sha256(service.encode()).hexdigest()[:8], 16)
    return jhash(hashed(source), seed) * BUCKETS // WORD


def hashed(source: str) -> bytes:
    """Return what of an address is hashed."""
    address = ip_address(source)
    if isinstance(address, IPv4Address):
        return bytes(map(int, str(address).split(".")[:3]))
    # Not `exploded`: Python 3.13 writes a mapped address with dots.
    octets = address.packed
    words = [octets[place : place + 2].hex() for place in range(0, 16, 2)]
    if words[0] == "2002":
        return octets[2:5]
    if words[:2] == ["2001", "0000"] or words[:6] in (
        ["0064", "ff9b", *["0000"] * 4],
        [*["0000"] * 5, "ffff"],
    ):
        return octets[12:15]
    assert isinstance(address, IPv6Address)
    return octets[:7]


def rol(word: int, bits: int) -> int:
    """Rotate a word of 32 bits to the left."""
    return (word << bits | word >> (32 - bits)) % WORD


def jhash(data: bytes, seed: int) -> int:
    """Return what the kernel's function returns for less than 13 bytes: one block, then __jhash_final."""
    a = b = c = (0xDEADBEEF + len(data) + seed) % WORD
    one: int
    two: int
    three: int
    one, two, three = struct.unpack("<III", data + bytes(12 - len(data)))
    a, b, c = (a + one) % WORD, (b + two) % WORD, (c + three) % WORD
    for x, y, bits in (
        ("c", "b", 14),
        ("a", "c", 11),
        ("b", "a", 25),
        ("c", "b", 16),
        ("a", "c", 4),
        ("b", "a", 14),
        ("c", "b", 24),
    ):
        values = {"a": a, "b": b, "c": c}
        values[x] = ((values[x] ^ values[y]) - rol(values[y], bits)) % WORD
        a, b, c = values["a"], values["b"], values["c"]
    return c
