"""Packets of every shape, cut after every byte: judged by what is left of them, and nothing behind it."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.kernel.dataplane.xdp.judging import DROP, PASS, framed
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

    from tests.kernel.dataplane.xdp.judging import Judging

pytestmark = [pytest.mark.root, pytest.mark.slow]

TAGS = {"ethernet": [], "vlan": [(0x8100, 5)], "qinq": [(0x88A8, 5), (0x8100, 6)]}
GRE, RAW = 47, 255
NOTHING_SHOWN = (8, True)  # a later fragment shows as little
# One that ports decide on, one that is dropped where no port shows.
SOURCES = {4: ["1.1.1.1", "1.2.3.4"], 6: ["2400::1", "2400:1:2:3::4"]}
CHAINS = [(), (HOP_BY_HOP,), (ROUTING,), (DESTINATION,), (HOP_BY_HOP, ROUTING, DESTINATION)]
FRAGMENTS = [None, (0, True), (8, True)]
EXTENSION_SHOWN = 8  # of an extension header, or what follows it is not known
HEADER = {4: 20, 6: 40}  # without options and extension headers


def shapes() -> Iterator[Packet]:
    """Every protocol, behind every kind of header."""
    for fragment, protocol in itertools.product(FRAGMENTS, (TCP, UDP, ICMP, GRE)):
        for source, options in itertools.product(SOURCES[4], (0, 4, 40)):
            yield Packet(source, protocol=protocol, options=bytes(options), fragment=fragment, icmp_type=8)
        for source, chain in itertools.product(SOURCES[6], CHAINS):
            known = ICMPV6 if protocol == ICMP else protocol
            every = (*chain, FRAGMENT) if fragment else chain
            yield Packet(source, protocol=known, extensions=every, fragment=fragment, icmp_type=128)


def claiming(packet: bytes, length: int) -> bytes:
    """An IP packet that says that it is so long; what follows is then padding."""
    if packet[0] >> 4 == 4:
        return packet[:2] + struct.pack("!H", length) + packet[4:]
    return packet[:4] + struct.pack("!H", max(length - HEADER[6], 0)) + packet[6:]


def seen(packet: Packet, left: int, *, cut: bool) -> Packet | None:
    """The packet as far as it shows when so many of its bytes are left; None: it is taken for no packet.

    `cut`: it says that it is longer, so that the IP stack will refuse it, whatever is said of it here.
    """
    if packet.family == 4:
        header = HEADER[4] + len(packet.options)
        least = HEADER[4] if cut else header
        return replace(packet, cut=max(left - header, 0)) if left >= least else None
    if left < HEADER[6]:
        return None
    header = HEADER[6]
    for extension in packet.extensions:
        if left < header + EXTENSION_SHOWN:
            return replace(packet, protocol=RAW, fragment=NOTHING_SHOWN)
        header += EXTENSION_BYTES[extension]
    return replace(packet, cut=max(left - header, 0))


@pytest.mark.parametrize("tags", TAGS)
def test_every_length_of_every_shape(judging: Judging, tags: str) -> None:
    """A short packet in a frame of its size, the same with the missing bytes as padding, and a frame that ends before
    its packet does: all three are judged by the bytes of the packet that are there.
    """
    verdicts: Counter[int] = Counter()
    for packet in shapes():
        whole = encode(packet, 1)
        for left in range(1, len(whole) + 1):
            short = claiming(whole, left)
            honest = [short[:left]]
            if left >= HEADER[packet.family]:  # no IPv6 packet can say that it is shorter
                honest.append(short)
            for cut, packets in ((False, honest), (True, [whole[:left]])):
                shown = seen(packet, left, cut=cut and left < len(whole))
                expected = judging.expected(shown) if shown else PASS
                for one in packets:
                    assert judging.run(framed(one, TAGS[tags])) == expected, (cut, left, packet)
                verdicts[expected] += len(packets)
    assert min(verdicts[DROP], verdicts[PASS]) > 2_000
