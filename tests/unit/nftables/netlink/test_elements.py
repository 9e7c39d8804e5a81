# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from ipaddress import IPv4Address
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink import nftsocket

from geodrop.linux import netlink
from geodrop.nftables.model import Content
from geodrop.nftables.netlink import elements, uapi, wire
from geodrop.nftables.netlink.expressions import ACCEPT, Choice, goto
from geodrop.nftables.netlink.uapi import KeyType

VERDICTS = (goto("g42-api.CN"), goto("g42-api.list_a_long_name"), ACCEPT)
Interval = tuple[int, int, int]


def content(width: int, intervals: list[Interval]) -> Content:
    """Make a map of (first, last, target)."""
    size = 1 << 8 * width
    return Content(
        width,
        memoryview(b"".join(first.to_bytes(width, "big") for first, _, _ in intervals)),
        memoryview(b"".join(((last + 1) % size).to_bytes(width, "big") for _, last, _ in intervals)),
        memoryview(struct.pack(f"={len(intervals)}H", *(target for _, _, target in intervals))).cast("H"),
        VERDICTS,
    )


@st.composite
def maps(draw: st.DrawFn) -> tuple[int, list[Interval]]:
    """Draw disjoint intervals of one family, some touching, some at the ends of the family."""
    width = draw(st.sampled_from([4, 16]))
    highest = (1 << 8 * width) - 1
    corners = st.sampled_from([0, 1, highest - 1, highest])
    bounds = sorted(draw(st.sets(st.integers(0, highest) | corners, min_size=2, max_size=40)))
    kept = draw(st.lists(st.booleans(), min_size=len(bounds), max_size=len(bounds)))
    intervals = []
    for (first, behind), keep in zip([*pairwise(bounds), (bounds[-1], highest + 1)], kept, strict=True):
        if keep:
            intervals.append((first, behind - 1, draw(st.integers(0, 2))))
    return width, intervals


@given(maps())
def test_what_is_encoded_decodes_to_the_same_intervals(case: tuple[int, list[Interval]]) -> None:
    """First address, last address and verdict are kept, in both families and at their ends."""
    width, intervals = case
    pieces = [memoryview(piece) for piece in elements.lists(content(width, intervals))]
    found = elements.ranges(elements.decode(pieces), width, interval=True)
    assert list(found) == [(first, last, VERDICTS[target]) for first, last, target in intervals]


@given(maps())
def test_descending_is_the_same_backwards(case: tuple[int, list[Interval]]) -> None:
    """The order is reversed element by element; each element has the same bytes."""
    up = list(netlink.attributes(memoryview(b"".join(elements.lists(content(*case))))))
    down = list(netlink.attributes(memoryview(b"".join(elements.lists(content(*case), descending=True)))))
    assert [bytes(value) for _, value in up] == [bytes(value) for _, value in reversed(down)]


def test_pieces_fit_an_attribute() -> None:
    """The length of an attribute has 16 bits; together the pieces hold everything, in order, in both directions."""
    many = content(16, [(number << 8, (number << 8) + 255, number % 3) for number in range(5_000)])
    for descending in (False, True):
        pieces = list(elements.lists(many, descending=descending))
        assert len(pieces) > 1
        assert all(netlink.ATTRIBUTE.size + len(piece) < 1 << 16 for piece in pieces)
        keys = [key for key, _, _ in elements.decode(map(memoryview, pieces))]
        assert keys == sorted(keys, reverse=descending)
        assert len(keys) == 10_000


def test_an_empty_map_has_no_lists() -> None:
    """There is not even an empty list, which the kernel would refuse."""
    assert list(elements.lists(content(4, []))) == []


def test_pyroute2_reads_the_elements() -> None:
    """Code that is not ours decodes key, verdict and flag."""
    start = int(IPv4Address("1.0.1.0"))
    [items] = elements.lists(content(4, [(start, start + 255, 0)]))
    body = wire.attribute(uapi.ElementsAttribute.ELEMENTS, items)
    request = wire.NetlinkRequest(uapi.Message.NEWSETELEM, uapi.Flag.REQUEST, body, "")
    message = nftsocket.nft_set_elem_list_msg(request.encode(1))
    message.decode()
    first, end = message.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS")
    assert first.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE") == bytes([1, 0, 1, 0])
    verdict = first.get_attr("NFTA_SET_ELEM_DATA").get_attr("NFTA_DATA_VERDICT")
    assert verdict.get_attr("NFTA_VERDICT_CODE") == "NFT_GOTO"
    assert verdict.get_attr("NFTA_VERDICT_CHAIN") == "g42-api.CN"
    assert first.get_attr("NFTA_SET_ELEM_FLAGS") is None
    assert end.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE") == bytes([1, 0, 2, 0])
    assert end.get_attr("NFTA_SET_ELEM_FLAGS")


def test_choices() -> None:
    """Single values, ranges, and a range up to the highest value, which has no end element."""
    for ranges in (((22, 22), (443, 443)), ((22, 22), (8000, 8099)), ((53, 53), (60_000, 65_535))):
        choice = Choice(KeyType.INET_SERVICE, 2, ranges)
        decoded = elements.decode([memoryview(elements.choice_elements(choice))])
        found = elements.ranges(decoded, 2, interval=choice.interval)
        assert tuple((first, last) for first, last, _ in found) == ranges


def test_touching_intervals_keep_both_elements() -> None:
    """The end of one interval and the start of the next have the same key; the kernel needs both."""
    keys = [key for key, _, _ in elements.decode(map(memoryview, elements.lists(content(4, [(0, 9, 0), (10, 19, 1)]))))]
    assert [int.from_bytes(key, "big") for key in keys] == [0, 10, 10, 20]
