# SPDX-License-Identifier: Apache-2.0
"""Ramps: of the sources that a service would drop, only a share is dropped, the same sources on every host. Pure.

A source falls into one of 10,000 buckets, by a hash of its /24 (IPv4) or /56 (IPv6) and the name of the service. It is
dropped once its bucket is below the share. So a source that is dropped at 1% is dropped at 10% too, no reload matters,
and both engines agree with this module: the hash is the kernel's jhash (include/linux/jhash.h), as nftables offers it.
"""

from __future__ import annotations

import functools
import hashlib
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Address = IPv4Address | IPv6Address
    Ramp = Sequence[tuple[int, int]]
    """Moments in seconds since the epoch, ascending, each with the share that is dropped from then on, in buckets."""

SIXTOFOUR = IPv6Network("2002::/16")
INSIDE = tuple(map(IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96", "2001::/32")))
"""Networks whose addresses hold an IPv4 address in the last 32 bits; Teredo (2001::/32) holds its complement."""

BUCKETS = 10_000
"""A share counts buckets: hundredths of a percent."""

_INITIAL = 0xDEADBEEF  # JHASH_INITVAL
_MASK = 0xFFFF_FFFF


def bucket(service: str, address: Address) -> int:
    """Return the bucket of a source on the wire for a service, from 0 to BUCKETS - 1."""
    return jhash(key(address), seed(service)) * BUCKETS >> 32  # reciprocal_scale of the kernel


def key(address: Address) -> bytes:
    """Return the bytes of an address that are hashed, as they are in the packet.

    IPv4: the /24. IPv6: the /56; where an IPv4 address is inside, the first three bytes of that, which Teredo inverts.
    """
    packed = address.packed
    if isinstance(address, IPv4Address):
        return packed[:3]
    if address in SIXTOFOUR:
        return packed[2:5]
    return packed[12:15] if any(address in network for network in INSIDE) else packed[:7]


@functools.cache
def seed(service: str) -> int:
    """Return the first 32 bits of the SHA-256 of a service's name."""
    return int.from_bytes(hashlib.sha256(service.encode()).digest()[:4], "big")


def jhash(data: bytes, start: int) -> int:
    """Return the kernel's jhash of at most 12 bytes."""
    padded = data.ljust(12, b"\0")
    a, b, c = (
        (_INITIAL + len(data) + start + int.from_bytes(padded[at : at + 4], "little")) & _MASK for at in (0, 4, 8)
    )
    # __jhash_final
    c = (c ^ b) - _rotated(b, 14) & _MASK
    a = (a ^ c) - _rotated(c, 11) & _MASK
    b = (b ^ a) - _rotated(a, 25) & _MASK
    c = (c ^ b) - _rotated(b, 16) & _MASK
    a = (a ^ c) - _rotated(c, 4) & _MASK
    b = (b ^ a) - _rotated(a, 14) & _MASK
    return (c ^ b) - _rotated(b, 24) & _MASK


def share_at(ramp: Ramp, now: float) -> int:
    """Return the share that is dropped at `now` (seconds since the epoch), in buckets; all of them without a ramp."""
    if not ramp:
        return BUCKETS
    return max((share for moment, share in ramp if moment <= now), default=0)


def dropped_from(ramp: Ramp, number: int) -> int | None:
    """Return from when a bucket is dropped, in seconds since the epoch; 0 if always, None if never."""
    if not ramp:
        return 0
    return next((moment for moment, share in ramp if number < share), None)


def share_text(share: int) -> str:
    """Return a share, given in buckets, as text."""
    return f"{share / 100:g}%"


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _MASK
