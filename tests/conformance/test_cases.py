# SPDX-License-Identifier: Apache-2.0
"""Tests of the cases: the oracle must agree with every verdict written by hand, before any engine is asked."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.conformance.case import CN, Case
from tests.conformance.cases import CASES
from tests.conformance.frames import checksum, encode
from tests.oracle.ladder import Oracle
from tests.oracle.packet import AUTHENTICATION, FRAGMENT, HOP_BY_HOP, ROUTING, UDP, Packet, judge

if TYPE_CHECKING:
    from tests.oracle.ladder import Database


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_oracle_agrees(case: Case, world: Database) -> None:
    """Two readings of design.md, by hand and by the oracle, give one verdict for every packet."""
    oracle = Oracle(case.policy, [world], datetime.now(UTC))
    for expectation in case.expectations:
        verdict = judge(oracle, expectation.packet).verdict if expectation.via == "eth0" else "accept"
        assert verdict == expectation.verdict, expectation


def test_names_are_unique() -> None:
    """A case is found by its name."""
    assert len({case.name for case in CASES}) == len(CASES)


def test_ipv4_frame() -> None:
    """Lengths, number, fragment field and checksum are where RFC 791 has them."""
    frame = encode(Packet(CN[0], options=bytes([1, 1, 1]), fragment=(16, True), payload=bytes(24)), 0x1234)
    assert frame[0] == 0x46
    assert struct.unpack("!HHH", frame[2:8]) == (48, 0x1234, 0x2002)
    assert checksum(frame[:24]) == 0
    assert frame[12:16] == bytes([1, 1, 1, 1])


def test_ipv6_frame() -> None:
    """Extension headers are chained, and the transport header follows them."""
    frame = encode(Packet(CN[1], protocol=UDP, dport=53, extensions=(HOP_BY_HOP, ROUTING)), 0xABCDE)
    assert struct.unpack("!I", frame[:4]) == (0x600ABCDE,)
    assert frame[6] == HOP_BY_HOP
    assert len(frame) == 40 + struct.unpack("!H", frame[4:6])[0]
    hop_by_hop, routing = frame[40:56], frame[56:64]
    assert (hop_by_hop[0], (hop_by_hop[1] + 1) * 8) == (ROUTING, 16)
    assert (routing[0], (routing[1] + 1) * 8) == (UDP, 8)
    assert struct.unpack("!HH", frame[64:68]) == (40_000, 53)


def test_a_frame_cut_inside_its_extension_headers() -> None:
    """The first fragment holds the fragment header and half of what follows; its length says so."""
    chain = (FRAGMENT, HOP_BY_HOP)
    frame = encode(Packet(CN[1], extensions=chain, fragment=(0, True), kept=16), 1)
    assert (len(frame), struct.unpack("!H", frame[4:6])) == (56, (16,))
    assert struct.unpack("!BBH", frame[40:44]) == (HOP_BY_HOP, 0, 1)


def test_an_authentication_header() -> None:
    """It follows the IP header of either family, is as long as its length byte says, and precedes the ports."""
    frame = encode(Packet(CN[0], authentication=1), 1)
    assert (frame[9], frame[20], frame[21]) == (AUTHENTICATION, 6, 1)
    assert struct.unpack("!HH", frame[32:36]) == (40_000, 443)
    frame = encode(Packet(CN[1], extensions=(ROUTING,), authentication=14), 1)
    assert (frame[40], frame[48], frame[49]) == (AUTHENTICATION, 6, 14)
    assert struct.unpack("!HH", frame[112:116]) == (40_000, 443)


def test_no_length() -> None:
    """The payload is there, its length is 0."""
    frame = encode(Packet(CN[1], extensions=(HOP_BY_HOP,), no_length=True), 1)
    assert (len(frame), frame[4:6]) == (76, bytes(2))
