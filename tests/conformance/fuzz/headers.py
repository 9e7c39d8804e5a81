# SPDX-License-Identifier: Apache-2.0
"""Random headers between the IP header and the transport: IPv4 options, extension headers of IPv6, authentication."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.conformance.frames import authentication_header
from tests.oracle.packet import AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING

if TYPE_CHECKING:
    import random

Header = tuple[int, bytes]
"""A number, and the bytes of the header without the first one, which names the header that follows."""

_SKIPPED = 0x1E
"""An experimental option that a host without knowledge of it must skip (RFC 4727)."""

_LONGEST_OPTION = 255


def ipv4_options(chance: random.Random) -> bytes:
    """Return options of IPv4, most often none."""
    if chance.random() < 0.75:
        return b""
    return chance.choice([
        bytes([1]) * (4 * chance.randrange(1, 11)),
        bytes([7, 11, 4]) + bytes(8) + b"\0",  # record route
        bytes([148, 4, 0, 0]),  # router alert
        bytes([68, 12, 5, 0]) + bytes(8),  # timestamp
        bytes([131, 7, 8, 203, 0, 113, 1, 0]),  # loose source route, at its end
        bytes([0, 0, 0, 0]),
        chance.randbytes(4 * chance.randrange(1, 11)),
    ])  # fmt: skip


def chain(chance: random.Random, *, large: bool) -> list[Header]:
    """Return extension headers for the front of a transport; with `large` they may reach far into a jumbo frame."""
    headers: list[Header] = []
    if chance.random() < 0.2:
        headers.append(_options(chance, HOP_BY_HOP, large=large))
    count = chance.choice([0, 0, 0, 1, 1, 2, 3, 5, 12, *([60, 190] if large else [])])
    headers += [_any(chance, large=large) for _ in range(count)]
    headers += authentications(chance)
    if chance.random() < 0.03:
        chance.shuffle(headers)
    return headers


def authentications(chance: random.Random) -> list[Header]:
    """Return authentication headers, most often none, and now and then two in a row."""
    if chance.random() >= 0.06:
        return []
    return [_authentication(chance) for _ in range(chance.choice([1, 1, 1, 1, 2]))]


def _authentication(chance: random.Random) -> Header:
    """Return an authentication header, most often of a length that is in use."""
    length = chance.choice([*range(1, 15), 4, 4, 4, 0, 15, 20, 255])
    return AUTHENTICATION, authentication_header(0, length)[1:]


def joined(headers: list[Header], following: int) -> tuple[int, bytes]:
    """Return the number of the first header, or of what follows if there is none, and the bytes of the chain."""
    numbers = [*(number for number, _ in headers), following]
    parts = [bytes([after]) + rest for (_, rest), after in zip(headers, numbers[1:], strict=True)]
    return numbers[0], b"".join(parts)


def _any(chance: random.Random, *, large: bool) -> Header:
    kind = chance.choice(
        [DESTINATION] * 6 + [ROUTING] * 3 + [FRAGMENT] + [AUTHENTICATION, HOP_BY_HOP][: chance.random() < 0.1]
    )
    if kind == ROUTING:
        return _routing(chance)
    if kind == FRAGMENT:  # of the whole packet, now and then with reserved bits set
        return FRAGMENT, struct.pack(
            "!BHI", chance.choice([0, 0, 0, 255]), chance.choice([0, 0, 0, 2, 6]), chance.getrandbits(32)
        )
    return _authentication(chance) if kind == AUTHENTICATION else _options(chance, kind, large=large)


def _routing(chance: random.Random) -> Header:
    """Return a routing header: of a type that may be skipped at its end, with a meaning, or with segments left."""
    kind, left = chance.choice([(253, 0)] * 12 + [(0, 0), (2, 0), (4, 0), (3, 0), (253, 1), (0, 1), (4, 1)])
    units = chance.choice([0, 0, 0, 2, 4])
    return ROUTING, struct.pack("!BBBI", units, kind, left, 0) + bytes(8 * units)


def _options(chance: random.Random, kind: int, *, large: bool) -> Header:
    units = chance.choice([0, 0, 0, 1, 1, 2, 6, *([31, 127, 255] if large else [])])
    room = 8 * units + 6
    if chance.random() < 0.04:
        return kind, bytes([units]) + chance.randbytes(room)
    options = b""
    while room >= 2:
        size = min(room - 2, _LONGEST_OPTION)
        options += struct.pack("!BB", _SKIPPED, size) + bytes(size)
        room -= 2 + size
    return kind, bytes([units]) + options + bytes(room)
