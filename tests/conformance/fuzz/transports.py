# SPDX-License-Identifier: Apache-2.0
"""Random transports: TCP, UDP, ICMP, SCTP, GRE, ESP, packets in packets; odd lengths, and truncated ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.oracle.packet import ICMP, ICMPV6, TCP, UDP

if TYPE_CHECKING:
    import random

IPIP, IPV6, GRE, ESP, NO_NEXT_HEADER, SCTP, EXPERIMENT = 4, 41, 47, 50, 59, 132, 253

PORTS = (443, 80, 22, 444)
"""The ports where the server listens; the first one is that of the main service."""

_DPORTS = [443] * 8 + [80, 80, 22, 444, 68, 546]
_SPORTS = [40_000, 40_000, 443, 22, 67, 547]
_FLAGS = [0x02] * 8 + [0x10, 0x12, 0x18, 0x04, 0x11, 0x00, 0xC2, 0x03]
_ICMP_TYPES = {4: [8, 8, 8, 0, 3, 11, 12, 13, 5], 6: [128, 128, 128, 129, 1, 2, 3, 4, 135, 136, 143]}


def transport(chance: random.Random, source: bytes, dest: bytes) -> tuple[int, bytes]:
    """Return a protocol and its bytes, with checksums that are right more often than not."""
    family = 4 if len(source) == 4 else 6
    protocol = chance.choice([TCP] * 6 + [UDP] * 6 + [ICMP if family == 4 else ICMPV6, SCTP, GRE, ESP, IPIP, IPV6, 0])
    if protocol == 0:
        protocol = chance.choice([EXPERIMENT, NO_NEXT_HEADER])
    data = chance.randbytes(chance.choice([0, 1, 4, 7, 16, 24, 33, 100, chance.randrange(1, 600)]))
    body = _body(chance, protocol, data, family)
    if chance.random() < 0.97:
        body = with_checksum(protocol, body, source, dest)
    if chance.random() < 0.08:
        body = body[: chance.choice([0, 1, 2, 3, 4, 5, 8, 12, 13, 14])]
    return protocol, body


def _body(chance: random.Random, protocol: int, data: bytes, family: int) -> bytes:
    ports = struct.pack("!HH", chance.choice(_SPORTS), chance.choice(_DPORTS))
    if protocol == TCP:
        options = bytes([1]) * (4 * chance.choice([0, 0, 0, 1, 5, 10]))
        return (
            ports
            + struct.pack(
                "!IIBBHHH", chance.getrandbits(32), 0, (5 + len(options) // 4) << 4, chance.choice(_FLAGS), 1024, 0, 0
            )
            + options
            + data
        )
    if protocol == UDP:
        return ports + struct.pack("!HH", 8 + len(data), 0) + data
    if protocol in {ICMP, ICMPV6}:
        return struct.pack("!BBHI", chance.choice(_ICMP_TYPES[family]), 0, 0, 1) + data
    if protocol == SCTP:  # an INIT chunk, without a checksum, since no receiver here checks it
        return ports + struct.pack("!IIBBHIIHHI", 0, 0, 1, 0, 20, 1, 1024, 1, 1, 1)
    if protocol == GRE:
        return struct.pack("!HH", 0, 0x0800) + _inner(4, ports) + data
    if protocol == ESP:
        return struct.pack("!II", 0x100, 1) + ports + data + bytes(16)
    if protocol in {IPIP, IPV6}:
        return _inner(4 if protocol == IPIP else 6, ports) + data
    return ports + data


def _inner(family: int, ports: bytes) -> bytes:
    """Return an inner packet for a tunnel, with documentation addresses."""
    datagram = ports + struct.pack("!HH", 8, 0)
    if family == 4:
        return struct.pack("!BBHHHBBHII", 0x45, 0, 28, 1, 0, 64, UDP, 0, 0xC0000201, 0xC0000202) + datagram
    return struct.pack("!IHBB", 6 << 28, 8, UDP, 64) + bytes.fromhex("20010db8") + bytes(28) + datagram


_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}


def with_checksum(protocol: int, body: bytes, source: bytes, dest: bytes) -> bytes:
    """Return the body with the checksum of its protocol, if it has room for it."""
    at = _CHECKSUM_AT.get(protocol)
    if at is None or len(body) < at + 2:
        return body
    pseudo = b"" if protocol == ICMP else source + dest + struct.pack("!II", len(body), protocol)
    total = checksum(pseudo + body) or (0xFFFF if protocol == UDP else 0)
    return body[:at] + struct.pack("!H", total) + body[at + 2 :]


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071): a sum in ones' complement is a remainder of 65,535."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    folded = total % 0xFFFF or (0xFFFF if total else 0)
    return 0xFFFF - folded
