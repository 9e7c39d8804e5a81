# SPDX-License-Identifier: Apache-2.0
"""The messages of a window, and how long one is still open as the kernel says it."""

from __future__ import annotations

from geodrop.nftables.netlink import elements, uapi, windows, wire
from geodrop.nftables.netlink.timed import NEVER
from geodrop.nftables.netlink.uapi import KeyType, SetFlag


def attributes(body: bytes) -> dict[int, memoryview]:
    """Return the attributes of a message."""
    return wire.parse(memoryview(body))


def test_a_window_that_is_made_is_recognised() -> None:
    """A set of another type or with other flags is not taken for a window."""
    made = attributes(windows.new_window("g2.window").body)
    assert windows.is_window(made)
    assert not windows.is_window({**made, uapi.SetAttribute.KEY_TYPE: memoryview(bytes([0, 0, 0, KeyType.INTEGER]))})
    flags = memoryview(bytes([0, 0, 0, SetFlag.TIMEOUT | SetFlag.INTERVAL]))
    assert not windows.is_window({**made, uapi.SetAttribute.FLAGS: flags})


def test_the_timeout_is_in_milliseconds() -> None:
    """The number 0 is the one element, with its timeout in 64 bits; deleting it names no timeout."""
    request = windows.add_element("g2.window", 123_456)
    [item] = wire.parse(attributes(request.body)[uapi.ElementsAttribute.ELEMENTS]).values()
    found = wire.parse(item)
    assert wire.number(found[uapi.ElementAttribute.TIMEOUT]) == 123_456
    assert len(found[uapi.ElementAttribute.TIMEOUT]) == 8
    deleted = windows.delete_element("g2.window").body
    assert wire.be64(uapi.ElementAttribute.TIMEOUT, 123_456) not in deleted


def test_what_is_left_is_read() -> None:
    """Without an element the window is over; one that never expires is told from all others."""
    timed = elements.element(windows.KEY, wire.be64(uapi.ElementAttribute.EXPIRATION, 5_000))
    other = elements.element(b"\0\0\0\7", wire.be64(uapi.ElementAttribute.EXPIRATION, 9))
    assert windows.milliseconds_left([memoryview(other), memoryview(timed)]) == 5_000
    assert windows.milliseconds_left([memoryview(other)]) is None
    assert windows.milliseconds_left([memoryview(elements.element(windows.KEY))]) == NEVER
