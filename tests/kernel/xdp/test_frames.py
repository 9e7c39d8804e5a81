# SPDX-License-Identifier: Apache-2.0
"""Hundreds of thousands of crafted and random frames in test runs: the program's verdict equals the oracle's."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.kernel.xdp.judging import DROP, PASS, framed, padded
from tests.oracle.packet import LOCAL, Packet

if TYPE_CHECKING:
    from tests.kernel.xdp.judging import Judging

pytestmark = [pytest.mark.root, pytest.mark.slow]

FRAMES = int(os.environ.get("GEODROP_TEST_FRAMES", "200000"))

SOURCES4 = ["1.2.3.4", "1.2.3.5", "1.2.3.200", "1.1.1.1", "1.7.0.1", "2.2.2.2", "2.9.9.9", "5.43.1.1", "5.5.5.5"]
SOURCES4 += ["9.9.9.9", "10.0.0.1", "200.1.1.1", "255.255.255.255", "0.0.0.1"]
SOURCES6 = ["2400:1:2:3::4", "2400:1:2:3::5", "2400:1:2:3:8000::", "2400::1", "2400:7::1", "2600::1", "2a02::1"]
SOURCES6 += ["2002:102:304::1", "2002:101:101::1", "2002:107:1::1", "2001:0:1:2:3:4:fefd:fcfb", "64:ff9b::102:304"]
SOURCES6 += ["::ffff:1.1.1.1", "fe80::1", "4000::1", "::1", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
PORTS = [0, 22, 53, 67, 68, 443, 546, 547, 5000, 6000, 7999, 8000, 8443, 8500, 8501, 9000, 65535]


def random_packet(chosen: random.Random) -> Packet:
    """Return a random packet that the IP stack would accept."""
    ipv6 = chosen.random() < 0.5
    fragment = chosen.choice([None, None, None, (0, True), (8, True), (1480, False)])
    later = fragment is not None and fragment[0] > 0
    protocol = chosen.choice([6, 6, 6, 17, 17, 1, 58, 47, 132, 59 if not ipv6 else 47])
    return Packet(
        chosen.choice(SOURCES6 if ipv6 else SOURCES4),
        chosen.choice([LOCAL[6], "2001:db8:1::1"] if ipv6 else [LOCAL[4], "203.0.113.16"]),
        protocol=protocol,
        sport=chosen.choice(PORTS),
        dport=chosen.choice(PORTS),
        flags=chosen.choice(["S", "SA", "A", "R", "SF", "", "FA"]),
        icmp_type=chosen.choice([0, 1, 2, 3, 4, 5, 8, 11, 12, 64, 67, 128, 129, 133, 135, 137, 138, 255]),
        hop_limit=chosen.choice([1, 64, 254, 255]),
        fragment=fragment,
        extensions=tuple(chosen.choices([0, 43, 60], k=chosen.choice([0, 0, 0, 1, 2, 9]))) if ipv6 else (),
        options=bytes(chosen.choice([0, 0, 4, 40])) if not ipv6 else b"",
        payload=bytes(chosen.choice([0, 8, 64])),
        cut=chosen.choice([None, None, 8, 12, 16]) if not later and protocol in (6, 17) else None,
    )


def random_frame(packet: Packet, number: int, chosen: random.Random) -> bytes:
    """Return the packet in a frame, with up to two tags."""
    tags = [(chosen.choice([0x8100, 0x88A8]), chosen.randrange(4096)) for _ in range(chosen.choice([0, 0, 1, 2]))]
    return padded(framed(encode(packet, number & 0xFFFF), tags))


def test_every_verdict_is_the_oracles(judging: Judging) -> None:
    """Crafted packets of every kind agree, tagged or not, padded or not."""
    chosen = random.Random(20_260_601)
    seen: Counter[int] = Counter()
    for number in range(FRAMES):
        packet = random_packet(chosen)
        expected = judging.expected(packet)
        assert judging.run(random_frame(packet, number, chosen)) == expected, packet
        seen[expected] += 1
    assert min(seen[DROP], seen[PASS]) > FRAMES / 10


def test_malformed_frames_harm_nothing(judging: Judging) -> None:
    """Frames with random bytes changed are passed or dropped, and stay unchanged."""
    chosen = random.Random(7)
    seen: Counter[int] = Counter()
    for number in range(6_000):
        changed = bytearray(random_frame(random_packet(chosen), number, chosen))
        for _ in range(chosen.randrange(1, 6)):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        seen[judging.run(bytes(changed))] += 1
    assert seen.keys() == {DROP, PASS}


def test_a_chain_of_headers_hides_no_port(judging: Judging) -> None:
    """Behind as many extension headers as an Ethernet frame holds, the port is still found."""
    for count in (1, 8, 64, 170):
        packet = Packet("2400::1", dport=443, extensions=(60,) * count)
        assert judging.expected(packet) == DROP
        assert judging.run(framed(encode(packet, 1))) == DROP, count


@pytest.mark.parametrize("source", ["1.1.1.1", "2.9.9.9", "2400::1", "2600::1"])
def test_frames_in_several_buffers(judging: Judging, source: str) -> None:
    """Frames from a page to the largest packet are judged by the headers in the first buffer, and stay unchanged."""
    for size in (1500, 3_000, 4_096, 9_000, 30_000, 65_000):
        packet = Packet(source, payload=random.Random(size).randbytes(size))
        for tags in ([], [(0x88A8, 1), (0x8100, 2)]):
            assert judging.run(framed(encode(packet, 1), tags)) == judging.expected(packet), size
