# SPDX-License-Identifier: Apache-2.0
"""Encode IP packets as bytes: honest ones, and ones whose headers are wrong about themselves."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conformance.fuzz.headers import Header, joined
from tests.conformance.fuzz.transports import checksum
from tests.oracle.packet import FRAGMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conformance.fuzz.fragments import Piece

_MORE = 0x2000


@dataclass(frozen=True)
class Ipv4:
    """A header of IPv4. `length`, `words` and `version` are right if left out."""

    addresses: bytes
    protocol: int
    identifier: int = 0
    fragment: int = 0
    ttl: int = 64
    options: bytes = b""
    length: int | None = None
    words: int | None = None
    version: int = 4

    def packet(self, data: bytes) -> bytes:
        """Return the whole packet."""
        words = 5 + len(self.options) // 4 if self.words is None else self.words
        length = 20 + len(self.options) + len(data) if self.length is None else self.length
        first = struct.pack("!BBHH", self.version << 4 | words, 0, length % 2**16, self.identifier)
        header = first + struct.pack("!HBBH", self.fragment, self.ttl, self.protocol, 0) + self.addresses + self.options
        return header[:10] + struct.pack("!H", checksum(header[: 4 * words])) + header[12:] + data


def ipv4_place(piece: Piece) -> int:
    """Return the fragment's flags and offset, as IPv4 writes them."""
    return piece.offset // 8 | (_MORE if piece.more else 0)


def ipv6_packet(
    addresses: bytes, hops: int, headers: tuple[int, bytes], data: bytes, length: int | None = None
) -> bytes:
    """Return the whole packet. `headers` are the result of `joined`; `length` is right if left out."""
    first, between = headers
    right = len(between) + len(data)
    return (
        struct.pack("!IHBB", 6 << 28, (right if length is None else length) % 2**16, first, hops)
        + addresses
        + between
        + data
    )


def ipv6_fragment(before: Sequence[Header], piece: Piece, identifier: int) -> tuple[int, bytes]:
    """Return the headers of a fragment."""
    header = struct.pack("!BHI", 0, piece.offset & 0xFFF8 | piece.more, identifier)
    return joined([*before, (FRAGMENT, header)], piece.following)
