# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.nftables.netlink import messages, timed, uapi, wire
from geodrop.nftables.netlink.timed import TimedInterval
from geodrop.nftables.netlink.uapi import ElementAttribute, KeyType, Message, SetFlag
from geodrop.nftables.render import EXEMPT_SETS

if TYPE_CHECKING:
    from geodrop.nftables.model import SetHeader

IPV4, IPV6 = EXEMPT_SETS
ONE = TimedInterval(0x01020300, 0x010203FF, 60_000, 7, 420)
LAST = TimedInterval(0xFFFF0000, 0xFFFFFFFF, 5_000)


def body(request: wire.NetlinkRequest) -> memoryview:
    """Return the attributes of a request."""
    return memoryview(request.body)


def told(request: wire.NetlinkRequest) -> memoryview:
    """Return the elements of a request as the kernel would dump them: with the time that is left."""
    items = bytes(messages.read_elements(body(request)))
    sent = ElementAttribute.TIMEOUT.to_bytes(2, "little")
    return memoryview(
        items.replace(b"\x0c\x00" + sent, b"\x0c\x00" + ElementAttribute.EXPIRATION.to_bytes(2, "little"))
    )


@pytest.mark.parametrize("header", EXEMPT_SETS, ids=lambda one: one.name)
def test_sets_come_back(header: SetHeader) -> None:
    """A set is read back as it was made, and nothing else is taken for such a set."""
    found = wire.parse(body(timed.new_set(header)))
    assert timed.read_set(found) == header
    for attribute, value in (
        (uapi.SetAttribute.FLAGS, SetFlag.INTERVAL),
        (uapi.SetAttribute.KEY_TYPE, KeyType.INET_SERVICE),
        (uapi.SetAttribute.KEY_LEN, 5),
    ):
        assert timed.read_set({**found, attribute: memoryview(value.to_bytes(4, "big"))}) is None


def test_elements_come_back() -> None:
    """Of two elements, the first has the time and the counts; at the end of a family there is only one."""
    [request] = timed.add(IPV4, [ONE, LAST])
    assert request.kind is Message.NEWSETELEM
    assert timed.read([told(request)], 4) == [ONE, LAST]
    wide = TimedInterval(0x2400 << 112, (0x2401 << 112) - 1, 1_000, 1, 60)
    [request] = timed.add(IPV6, [wide])
    assert timed.read([told(request)], 16) == [wide]


def test_intervals_that_touch() -> None:
    """The end of one is the start of the next one; the kernel dumps them in any order."""
    behind = TimedInterval(0x01020400, 0x010204FF, 1_000)
    [first], [second] = timed.add(IPV4, [ONE]), timed.add(IPV4, [behind])
    assert timed.read([told(second), told(first)], 4) == [ONE, behind]


def test_removing_names_both_ends() -> None:
    """Neither time nor counts are named; an element without a time is one that does not expire."""
    [request] = timed.remove(IPV4, [ONE])
    assert request.kind is Message.DELSETELEM
    [read] = timed.read([told(request)], 4)
    assert (read.first, read.last, read.left, read.packets) == (ONE.first, ONE.last, timed.NEVER, 0)


def test_many_are_cut() -> None:
    """A list of elements has to fit an attribute of 64 KB, with addresses of either family."""
    many = [TimedInterval(number << 96, (number << 96) + 5, 1_000) for number in range(2_000)]
    requests = list(timed.add(IPV6, many))
    assert all(len(request.body) < 65_000 for request in requests)
    assert [one for request in requests for one in timed.read([told(request)], 16)] == many
