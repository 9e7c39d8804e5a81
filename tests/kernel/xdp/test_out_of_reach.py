# SPDX-License-Identifier: Apache-2.0
"""Headers that are hard to reach, or out of the program's reach: later buffers, long chains, far offsets."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.kernel.xdp import judging as programs
from tests.kernel.xdp.judging import DROP, PASS, framed
from tests.kernel.xdp.test_frames import random_packet
from tests.oracle.packet import DESTINATION, ROUTING, Packet
from tests.support.namespaces import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.xdp.judging import Judging

pytestmark = [pytest.mark.root, pytest.mark.slow]

POLICY = "version: 1\nservices:\n  web: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [CN]}\n"
CN, US = "2400::1", "2600::1"
SERVED, ELSEWHERE = 443, 80  # packets from CN to the first are dropped, to the second only if the port cannot be read
MOST_HEADERS = 183  # an Ethernet frame holds no more headers
REACH = 32_768  # bytes of a frame that the program reads
IPV6_HEADER, ETHERNET = 40, 14


@pytest.fixture(scope="module")
def one_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judging]:
    """Yield a program with a single service in force."""
    require()
    with programs.judging(tmp_path_factory.mktemp("judging"), POLICY) as made:
        yield made


def behind(packet: Packet, sizes: list[int]) -> bytes:
    """Return an IPv6 packet with destination options of these sizes before its transport header."""
    whole = encode(packet, 1)
    following, transport = whole[6], whole[IPV6_HEADER:]
    kinds = [*[DESTINATION] * (len(sizes) - 1), following]
    chain = b"".join(bytes([kind, size // 8 - 1]) + bytes(size - 2) for kind, size in zip(kinds, sizes, strict=True))
    length = struct.pack("!HB", len(chain) + len(transport), DESTINATION)
    return whole[:4] + length + whole[7:IPV6_HEADER] + chain + transport


@pytest.mark.parametrize("size", [2_040, 2_048, 4_096, 6_000, 8_880, 16_384, 30_000, REACH - 200])
def test_ports_far_behind_are_read(one_service: Judging, size: int) -> None:
    """They are read behind more options than one header holds, in jumbo and longer frames, in whichever buffer they
    are.
    """
    sizes = [2_048] * (size // 2_048) + ([size % 2_048] if size % 2_048 else [])
    for source, port, verdict in ((CN, SERVED, DROP), (CN, ELSEWHERE, PASS), (US, SERVED, PASS)):
        frame = framed(behind(Packet(source, dport=port), sizes))
        assert one_service.run(frame) == verdict, (size, source, port)


def test_what_is_out_of_reach_is_judged_by_its_source(one_service: Judging) -> None:
    """A masked offset once led to other bytes, whose "ports" let the packet pass."""
    sizes = [2_048] * 17
    for source, verdict in ((CN, DROP), (US, PASS)):
        assert one_service.run(framed(behind(Packet(source, dport=ELSEWHERE), sizes))) == verdict
    # The transport header alone lies beyond the bytes that are read: its protocol is known, its ports are not.
    last = (REACH - ETHERNET - IPV6_HEADER - 15 * 2_048) // 8 * 8
    for size, verdict in ((last, PASS), (last + 8, DROP)):
        frame = framed(behind(Packet(CN, dport=ELSEWHERE), [*[2_048] * 15, size]))
        assert one_service.run(frame) == verdict, size


def test_a_chain_longer_than_the_parser_is_judged_by_its_source(one_service: Judging) -> None:
    """The parser walks as many headers as a frame of the usual size holds; normal senders use far fewer."""
    for count, verdict in ((MOST_HEADERS, PASS), (MOST_HEADERS + 1, DROP), (400, DROP)):
        packet = Packet(CN, dport=ELSEWHERE, extensions=(ROUTING,) * count)
        assert one_service.run(framed(encode(packet, 1))) == verdict, count
    assert one_service.run(framed(encode(Packet(US, extensions=(ROUTING,) * 400), 1))) == PASS


@pytest.mark.parametrize("first", [0, 1, 14, 18, 33, 40, 54, 55, 62, 70])
def test_headers_in_later_buffers_are_read(judging: Judging, first: int) -> None:
    """Some drivers leave the first buffer empty, or end it inside the headers; even then no packet passes unread."""
    chosen = random.Random(first)
    seen = set()
    for number in range(300):
        packet = random_packet(chosen)
        tags = [(0x8100, tag) for tag in range(chosen.choice([0, 0, 1, 8]))]
        expected = judging.expected(packet)
        frame = framed(encode(packet, number), tags).ljust(80, b"\xff")
        assert judging.run_in_buffers(frame, first) == expected, packet
        seen.add(expected)
    assert seen == {DROP, PASS}
