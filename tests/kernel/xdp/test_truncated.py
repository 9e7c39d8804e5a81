# SPDX-License-Identifier: Apache-2.0
"""Packets of every shape, cut after every byte: judged by the bytes that are left and nothing behind them."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.kernel.xdp.judging import DROP, PASS, framed
from tests.oracle.packet import (
    DESTINATION,
    EXTENSION_BYTES,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    ROUTING,
    TCP,
    UDP,
    Packet,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.xdp.judging import Judging

pytestmark = [pytest.mark.root, pytest.mark.slow]

TAGS = {
    "ethernet": [],
    "vlan": [(0x8100, 5)],
    "qinq": [(0x88A8, 5), (0x8100, 6)],
    "eight": [(0x8100, number) for number in range(8)],
}
GRE = 47
AUTHENTICATION, AUTHENTICATION_BYTES = 4, 24  # the length byte of an authentication header, and what it means
STEP = 8  # in which the oracle's packets end inside their headers
# One source whose verdict depends on ports, and one that is dropped if no port shows.
SOURCES = {4: ["1.1.1.1", "1.2.3.4"], 6: ["2400::1", "2400:1:2:3::4"]}
CHAINS = [(), (HOP_BY_HOP,), (ROUTING,), (DESTINATION,), (HOP_BY_HOP, ROUTING, DESTINATION)]
FRAGMENTS = [None, (0, True), (8, True)]
EXTENSION_SHOWN = 8  # bytes needed of an extension header to know the next one
HEADER = {4: 20, 6: 40}  # without options and extension headers


def shapes() -> Iterator[Packet]:
    """Yield packets of every protocol, behind every kind of header."""
    for fragment, protocol in itertools.product(FRAGMENTS, (TCP, UDP, ICMP, GRE)):
        for source, options in itertools.product(SOURCES[4], (0, 4, 40)):
            yield Packet(source, protocol=protocol, options=bytes(options), fragment=fragment, icmp_type=8)
        for source, chain in itertools.product(SOURCES[6], CHAINS):
            known = ICMPV6 if protocol == ICMP else protocol
            every = (*chain, FRAGMENT) if fragment else chain
            yield Packet(source, protocol=known, extensions=every, fragment=fragment, icmp_type=128)
    for source, protocol in itertools.product((*SOURCES[4], *SOURCES[6]), (TCP, UDP, GRE)):
        yield Packet(source, protocol=protocol, authentication=AUTHENTICATION)


def claiming(packet: bytes, length: int) -> bytes:
    """Return an IP packet that claims this length; the bytes behind it are then padding."""
    if packet[0] >> 4 == 4:
        return packet[:2] + struct.pack("!H", length) + packet[4:]
    return packet[:4] + struct.pack("!H", max(length - HEADER[6], 0)) + packet[6:]


def seen(packet: Packet, left: int, *, cut: bool) -> Packet | None:
    """Return what shows of a packet if `left` of its bytes are there; None if it is not taken for a packet.

    `cut`: the packet claims to be longer, so the IP stack will refuse it, whatever is expected here.
    """
    header = HEADER[packet.family] + len(packet.options)
    if left < (HEADER[packet.family] if cut else header):
        return None
    # A cut-off fragment header has said nothing; neither has a chain that ends before the header it names.
    first = (0, True) if packet.fragment else None
    unreadable = replace(packet, fragment=first, kept=max(left - header, 0) // STEP * STEP)
    for extension in packet.extensions:
        if left < header + EXTENSION_SHOWN:
            return unreadable
        header += EXTENSION_BYTES[extension]
    if packet.authentication is not None:
        header += AUTHENTICATION_BYTES
        if left < header:
            return unreadable
    return replace(packet, cut=max(left - header, 0))


@pytest.mark.parametrize("tags", TAGS)
def test_every_length_of_every_shape(judging: Judging, tags: str) -> None:
    """A packet is judged by the bytes of it that are there, in three forms of the frame.

    These are a short packet in a frame of its size, the same with the missing bytes as padding, and a frame that ends
    before its packet does.
    """
    verdicts: Counter[int] = Counter()
    for packet in shapes():
        whole = encode(packet, 1)
        for left in range(1, len(whole) + 1):
            short = claiming(whole, left)
            honest = [short[:left]]
            if left > HEADER[packet.family]:  # no IPv6 header can state a shorter length, and 0 means no length
                honest.append(short)
            for cut, packets in ((False, honest), (True, [whole[:left]])):
                shown = seen(packet, left, cut=cut and left < len(whole))
                expected = judging.expected(shown) if shown else PASS
                for one in packets:
                    assert judging.run(framed(one, TAGS[tags])) == expected, (cut, left, packet)
                verdicts[expected] += len(packets)
    assert min(verdicts[DROP], verdicts[PASS]) > 2_000


@pytest.mark.parametrize("tags", TAGS)
def test_a_length_of_zero_is_the_frames(judging: Judging, tags: str) -> None:
    """Receive offload makes packets longer than the length field can say; they end where the frame ends."""
    for packet in shapes():
        frame = bytearray(encode(packet, 1))
        at = 2 if packet.family == 4 else 4
        frame[at : at + 2] = bytes(2)
        assert judging.run(framed(bytes(frame), TAGS[tags])) == judging.expected(packet), packet
