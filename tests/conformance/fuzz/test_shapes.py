# SPDX-License-Identifier: Apache-2.0
"""Tests of what the fuzzer sends, without sending it: a seed gives the same shapes again, and some of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.fuzz.findings import WRITTEN, Random, line, written_down
from tests.conformance.fuzz.policies import MAIN, POLICIES
from tests.conformance.fuzz.shapes import is_behind_too_many_tags, is_hollow, shape, untagged
from tests.conformance.fuzz.sides import ALLOWED, DENIED, EMBEDDINGS, Origin, origin_of
from tests.conformance.fuzz.verdicts import from_frame
from tests.oracle.packet import read
from tests.support.namespaces import ETH_P_IP

if TYPE_CHECKING:
    from tests.oracle.packet import Packet

SHAPES = 3000


def test_both_sides_send_the_same_and_again() -> None:
    """Frames have equal lengths, differ in addresses and checksums, and are the same again for a seed and a number."""
    for number in range(1, 200):
        denied, allowed = (shape("seed", number, Origin(side, number)) for side in (DENIED, ALLOWED))
        assert [len(frame) for frame in denied] == [len(frame) for frame in allowed]
        assert denied != allowed
        assert denied == shape("seed", number, Origin(DENIED, number))
    assert shape("seed", 1, Origin(DENIED, 1)) != shape("another", 1, Origin(DENIED, 1))


def test_the_source_tells_the_shape() -> None:
    """The shape is found in every way in which an address can hold its number."""
    origin = Origin(DENIED, 0xABCDEF)
    assert origin_of(origin.ipv4) == origin
    assert all(origin_of(origin.ipv6(embedding)) == origin for embedding in EMBEDDINGS)


def test_something_of_every_kind() -> None:
    """Tags, lengths, fragments, extensions, readable and unreadable packets: each occurs."""
    frames = [frame for number in range(SHAPES) for frame in shape("kinds", number, Origin(DENIED, number))]
    tags = {(len(frame) - len(untagged(frame))) // 4 for frame in frames}
    assert tags >= set(range(10))
    read_from = [(untagged(frame), from_frame(frame)) for frame in frames]
    packets = [packet for _, packet in read_from if packet is not None]
    assert {protocol for packet in packets for protocol in read(packet).protocols or {None}} >= {
        *{1, 4, 6, 17, 41, 47, 50, 51, 58, 59, 132, 253, None}
    }
    for kind in (
        [frame for frame, packet in read_from if packet is None],
        [frame for frame, packet in read_from if packet and packet.later_fragment],
        [frame for frame, packet in read_from if packet and _has_no_ports(packet)],
        [frame for frame in frames if is_hollow([frame])],
        [frame for frame in frames if is_behind_too_many_tags([frame])],
        [frame for frame, _ in read_from if frame[:2] == ETH_P_IP.to_bytes(2, "big") and frame[2] > 0x45],
        [frame for frame in frames if len(frame) > 2048],
        [frame for frame in frames if len(frame) < 60],
    ):
        assert len(kind) > SHAPES / 500


def _has_no_ports(packet: Packet) -> bool:
    reading = read(packet)
    return reading.transport in {6, 17} and not reading.ports and not packet.later_fragment


def test_what_is_written_down_reads_back() -> None:
    """A line gives the same frames as the shape it was made of; no two lines have one number."""
    found = Random("seed", 7)
    policy, number, *sides = line(found, MAIN).split(" ")
    assert (policy, int(number, 16) >= WRITTEN) == (MAIN, True)
    for side, frames in zip((DENIED, ALLOWED), sides, strict=True):
        origin = Origin(side, int(number, 16))
        assert [bytes.fromhex(frame) for frame in frames.split(",")] == found.frames(origin)
    kept = [shape.fixed for policy in POLICIES for shape in written_down(policy)]
    assert len(kept) == len(set(kept)) > 0
