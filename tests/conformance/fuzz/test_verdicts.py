# SPDX-License-Identifier: Apache-2.0
"""Tests of the oracle's second reader, which reads frames from bytes."""

from __future__ import annotations

import random
import struct

import pytest

from tests.conformance.frames import encode
from tests.conformance.fuzz.shapes import is_hollow
from tests.conformance.fuzz.sides import DENIED, SAMPLE
from tests.conformance.fuzz.verdicts import as_packet, from_frame
from tests.conformance.random_packets import random_packet
from tests.oracle.packet import UNREADABLE, read
from tests.support.namespaces import ETH_P_IP, ETH_P_IPV6

PACKETS = 5000


def test_a_frame_is_read_as_what_it_was_made_of() -> None:
    """Random packets of the suite, encoded and read again, have the same protocols, ports, types and flags."""
    chance = random.Random("readings")
    for number in range(PACKETS):
        packet = random_packet(chance)
        frame = struct.pack("!H", ETH_P_IP if packet.family == 4 else ETH_P_IPV6) + encode(packet, number % 2**16)
        made, again = read(packet), from_frame(frame)
        if again is None:
            assert made == UNREADABLE or is_hollow([frame]), packet
            continue
        reading = read(again)
        assert (reading.protocols, reading.transport, reading.ports) == (made.protocols, made.transport, made.ports), (
            packet
        )
        assert (again.dest, again.hop_limit, again.later_fragment) == (
            packet.dest,
            packet.hop_limit,
            packet.later_fragment,
        )
        if reading.ports:
            assert (again.sport, again.dport) == (packet.sport, packet.dport)


@pytest.mark.parametrize(
    ("protocol", "data", "readable"),
    [
        (6, "9c4001bb", {6}),
        (6, "9c40", {6}),
        (51, "0604" + 22 * "00", {6, 51}),
        (51, "0604" + 21 * "00", None),
        (51, "3304" + 30 * "00", None),
        (51, "06", None),
        (132, "", {132}),
    ],
)
def test_a_delivery_as_a_packet(protocol: int, data: str, readable: set[int] | None) -> None:
    """A raw socket reads from the transport on, an authentication header included."""
    packet = as_packet("203.0.113.1", protocol, 64, bytes.fromhex(data))
    assert packet.source == SAMPLE[DENIED][4]
    assert read(packet).protocols == readable
