# SPDX-License-Identifier: Apache-2.0
"""Random shapes: the frames of one datagram, from a seed and a number, as either side would send them."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.conformance.fuzz.fragments import pieces
from tests.conformance.fuzz.headers import authentications, chain, ipv4_options, joined
from tests.conformance.fuzz.packets import Ipv4, ipv4_place, ipv6_fragment, ipv6_packet
from tests.conformance.fuzz.sides import EMBEDDINGS, LOCAL
from tests.conformance.fuzz.transports import transport
from tests.oracle.packet import HOP_BY_HOP, parsed
from tests.support.namespaces import ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6

if TYPE_CHECKING:
    from tests.conformance.fuzz.sides import Origin

MTU = 9000

_LARGE = 0.03
"""The share of shapes that may need a jumbo frame."""

_ADDRESSES = {4: slice(12, 20), 6: slice(8, 40)}


def shape(seed: str, number: int, origin: Origin) -> list[bytes]:
    """Return the frames, from their type on. Both sides send the same, except for the address and the checksums."""
    chance = random.Random(f"{seed}/{number}")
    family = chance.choice([4, 6, 6])
    dest = parsed(chance.choice(LOCAL[family])).packed
    if family == 4:
        packets = _ipv4(chance, origin.ipv4, dest)
    else:
        packets = _ipv6(chance, origin.ipv6(chance.choice(EMBEDDINGS)), dest)
    tags = _tags(chance)
    return [_frame(chance, packet, family, tags) for packet in packets]


def _ipv4(chance: random.Random, source: bytes, dest: bytes) -> list[bytes]:
    protocol, body = transport(chance, source, dest)
    first, between = joined(authentications(chance), protocol)
    body = _short(chance, between + body)
    header = Ipv4(
        source + dest,
        first,
        identifier=chance.getrandbits(16),
        ttl=chance.choice([64, 64, 255, 1]),
        options=ipv4_options(chance),
    )
    if chance.random() < 0.03:
        header = _lying(chance, header, len(body))
    kind = chance.random()
    if kind < 0.5:
        return [
            replace(header, protocol=piece.following, fragment=ipv4_place(piece)).packet(piece.data)
            for piece in pieces(chance, body, first)
        ]
    if kind < 0.55:
        header = replace(header, fragment=chance.choice([0x4000, 0x8000, 0x2000, 0xC000]))
    return [header.packet(body)]


def _short(chance: random.Random, body: bytes) -> bytes:
    """Truncate the body now and then, anywhere, with lengths that match."""
    return body[: chance.randrange(len(body) + 1)] if chance.random() < 0.02 else body


def _lying(chance: random.Random, header: Ipv4, size: int) -> Ipv4:
    start = 20 + len(header.options)
    lengths = [0, start, start + 4, start + size - 1, start + size - 8, start + size + 8]
    about = chance.randrange(3)
    if about == 0:
        return replace(header, length=chance.choice(lengths))
    if about == 1:
        return replace(header, words=chance.randrange(16))
    return replace(header, version=chance.choice([5, 6, 0]))


def _ipv6(chance: random.Random, source: bytes, dest: bytes) -> list[bytes]:
    protocol, body = transport(chance, source, dest)
    addresses = source + dest
    large = chance.random() < _LARGE
    hops = chance.choice([64, 64, 255])
    before = chain(chance, large=large)
    lies = chance.random() < 0.04
    if chance.random() < 0.45:
        first, between = joined(before, protocol)
        headers, body = (first, b""), _short(chance, between + body)
        return [ipv6_packet(addresses, hops, headers, body, _length(chance, headers, len(body), lies=lies))]
    first, between = joined(chain(chance, large=large), protocol)
    if chance.random() < 0.5:
        before = [one for one in before[:1] if one[0] == HOP_BY_HOP]
    identifier = chance.getrandbits(32)
    packets = []
    for piece in pieces(chance, between + body, first):
        if chance.random() < 0.05:  # the headers before a fragment may differ between fragments
            before = chain(chance, large=False)
        headers = ipv6_fragment(before, piece, identifier)
        length = _length(chance, headers, len(piece.data), lies=lies)
        packets.append(ipv6_packet(addresses, hops, headers, piece.data, length))
    return packets


def _length(chance: random.Random, headers: tuple[int, bytes], size: int, *, lies: bool) -> int | None:
    """Return the payload length for the header; None: the right one."""
    if headers[0] == HOP_BY_HOP and chance.random() < 0.15:
        return 0
    right = len(headers[1]) + size
    return chance.choice([0, 0, right - 1, right - 8, right // 2, right + 8]) if lies else None


def _tags(chance: random.Random) -> list[tuple[int, int]]:
    """Return VLAN and priority tags. Those of VLAN 0 reach the stack, however many there are."""
    if chance.random() < 0.85:
        return []
    kinds, identifiers = [ETH_P_8021Q, ETH_P_8021Q, ETH_P_8021AD], [0] * 12 + [0xE000, 5]
    return [(chance.choice(kinds), chance.choice(identifiers)) for _ in range(chance.randrange(1, 10))]


def _frame(chance: random.Random, packet: bytes, family: int, tags: list[tuple[int, int]]) -> bytes:
    kind = ETH_P_IP if family == 4 else ETH_P_IPV6
    if chance.random() < 0.01:
        kind = chance.choice([ETH_P_IP, ETH_P_IPV6, 0x0806, 0x9100, 0x8864])
    frame = struct.pack("!H", kind) + packet
    for tag, identifier in reversed(tags):
        frame = struct.pack("!HH", tag, identifier) + frame
    damage = chance.random()
    if damage < 0.02:  # flip a bit, though not in the addresses
        frame = _turned(chance, frame, len(frame) - len(packet), _ADDRESSES[family])
    elif damage < 0.04:
        frame = frame[: chance.randrange(14, len(frame) + 1)] if len(frame) > 14 else frame
    elif damage < 0.2:
        frame += chance.randbytes(chance.randrange(1, 60))
    return frame[: MTU + 2]


def _turned(chance: random.Random, frame: bytes, start: int, addresses: slice) -> bytes:
    places = [at for at in range(len(frame)) if not start + addresses.start <= at < start + addresses.stop]
    at = chance.choice(places[: start + 100])
    return frame[:at] + bytes([frame[at] ^ 1 << chance.randrange(8)]) + frame[at + 1 :]


MAX_TAGS = 8


def is_behind_too_many_tags(frames: list[bytes]) -> bool:
    """Whether some frame has more tags than xdp walks: then no source can be read, and frames of all sources are
    dropped.
    """
    return any(len(untagged(frame)) + 4 * MAX_TAGS < len(frame) for frame in frames)


def is_hollow(frames: list[bytes]) -> bool:
    """Whether some frame has an IPv6 payload length of 0, without options that could give it instead.

    In a packet from the wire that means an empty packet, and the stack takes it so. From a driver that merged segments
    it means a packet longer than the field can say, and xdp has to take it so: it reads on to the end of the frame.
    """
    hollow = (struct.pack("!H", ETH_P_IPV6), bytes(2))
    return any(
        (bare[:2], bare[6:8]) == hollow and bare[8] != HOP_BY_HOP for bare in map(untagged, frames) if len(bare) > 8
    )


def untagged(frame: bytes) -> bytes:
    """Return the frame without its tags."""
    while frame[:2] in {struct.pack("!H", kind) for kind in (ETH_P_8021Q, ETH_P_8021AD)}:
        frame = frame[4:]
    return frame
