# SPDX-License-Identifier: Apache-2.0
"""Encode the oracle's packets as bytes: IPv4 and IPv6 headers, extension headers, fragments and transports.

All fields are big-endian, as on the wire: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

from tests.oracle.packet import (
    AUTHENTICATION,
    EXTENSION_BYTES,
    FRAGMENT,
    ICMP,
    ICMPV6,
    ROUTING,
    TCP,
    UDP,
    parsed,
)

if TYPE_CHECKING:
    from tests.oracle.packet import Packet

TCP_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
MORE_FRAGMENTS = 0x2000


def encode(packet: Packet, number: int) -> bytes:
    """Encode the packet from the IP header on.

    `number` goes where it can be read back from every fragment: the identification of IPv4 (16 bits), the flow label of
    IPv6 (20 bits).
    """
    headers = b"".join(
        _between(packet, number, header, following)
        for header, following in itertools.pairwise((*packet.chain, packet.protocol))
    )
    body = (headers + _transport(packet))[: packet.kept]
    return _ipv4(packet, number, body) if packet.family == 4 else _ipv6(packet, number, body)


def _ipv4(packet: Packet, number: int, body: bytes) -> bytes:
    options = packet.options + bytes(-len(packet.options) % 4)
    offset, more = packet.fragment or (0, False)
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | 5 + len(options) // 4,
        0,
        20 + len(options) + len(body),
        number,
        offset // 8 | (MORE_FRAGMENTS if more else 0),
        packet.hop_limit,
        (*packet.chain, packet.protocol)[0],
        0,
        parsed(packet.source).packed,
        parsed(packet.dest).packed,
    )
    header += options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def _ipv6(packet: Packet, number: int, body: bytes) -> bytes:
    return (
        struct.pack(
            "!IHBB16s16s",
            6 << 28 | number,
            0 if packet.no_length else len(body),
            (*packet.chain, packet.protocol)[0],
            packet.hop_limit,
            parsed(packet.source).packed,
            parsed(packet.dest).packed,
        )
        + body
    )


def _between(packet: Packet, number: int, kind: int, following: int) -> bytes:
    """Return a header between the IP header and the transport."""
    if kind == AUTHENTICATION:
        return authentication_header(following, packet.authentication or 0)
    if kind == FRAGMENT:
        offset, more = packet.fragment or (0, False)
        return struct.pack("!BBHI", following, 0, offset | more, number)
    if kind == ROUTING:  # an experimental type, with no segments left
        return struct.pack("!BBBBI", following, 0, 253, 0, 0)
    # Hop-by-hop and destination options have 16 bytes: one experimental option that may be skipped. PadN is not used,
    # because Linux accepts at most 7 bytes of it.
    return struct.pack("!BBBB", following, 1, 0x1E, 12) + bytes(12)


def authentication_header(following: int, length: int) -> bytes:
    """Return the header of RFC 4302: parameters index 0x100, sequence number 1, and a value of the given length."""
    return struct.pack("!BBHII", following, length, 0, 0x100, 1).ljust(length * 4 + 8, b"\xa5")[: length * 4 + 8]


def _transport(packet: Packet) -> bytes:
    """Return the transport header and payload; a later fragment has only payload."""
    if packet.later_fragment:
        return packet.payload or bytes(16)
    if packet.protocol == TCP:
        flags = sum(TCP_FLAGS[letter] for letter in packet.flags)
        header = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, 1, 0, 5 << 4, flags, 1024, 0, 0)
    elif packet.protocol == UDP:
        header = struct.pack("!HHHH", packet.sport, packet.dport, 8 + len(packet.payload), 0)
    elif packet.protocol in {ICMP, ICMPV6}:
        header = struct.pack("!BBHI", packet.icmp_type, 0, 0, 0)
    elif packet.protocol in {*EXTENSION_BYTES, AUTHENTICATION}:
        header = b""
    else:
        header = bytes(8)
    return (header + packet.payload)[: packet.cut]


def checksum(data: bytes) -> int:
    """Return the Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
