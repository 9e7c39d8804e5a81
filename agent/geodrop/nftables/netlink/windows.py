# SPDX-License-Identifier: Apache-2.0
"""The set of a window, as messages: one element that the kernel lets expire, and reading back when. Pure.

nft lists it as `type mark; flags timeout`, with the time that is left, and reads that back. Its element is the number
0: the rule that asks (matches.in_window) loads a number that every packet has, and makes it 0.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from geodrop.linux import netlink
from geodrop.nftables.names import TABLE
from geodrop.nftables.netlink import elements, uapi, wire
from geodrop.nftables.netlink.timed import NEVER
from geodrop.nftables.netlink.uapi import Flag, KeyType, Message, SetFlag
from geodrop.nftables.netlink.wire import NetlinkRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEY = bytes(4)
_COMMENT = "while its element lasts, the generation judges; then the one before it"
_HOST_ENDIAN_KEYS = struct.pack("=BBI", uapi.UDATA_SET_KEYBYTEORDER, 4, uapi.UDATA_HOST_ENDIAN)


def new_window(name: str) -> NetlinkRequest:
    """Make the set without its element."""
    encoded = _COMMENT.encode() + b"\0"
    body = (
        wire.string(uapi.SetAttribute.TABLE, TABLE)
        + wire.string(uapi.SetAttribute.NAME, name)
        + wire.be32(uapi.SetAttribute.FLAGS, SetFlag.TIMEOUT)
        + wire.be32(uapi.SetAttribute.KEY_TYPE, KeyType.MARK)
        + wire.be32(uapi.SetAttribute.KEY_LEN, len(KEY))
        + wire.be32(uapi.SetAttribute.ID, 0)
        + wire.attribute(
            uapi.SetAttribute.USERDATA,
            _HOST_ENDIAN_KEYS + bytes((uapi.UDATA_SET_COMMENT, len(encoded))) + encoded,
        )
    )
    return NetlinkRequest(Message.NEWSET, Flag.REQUEST | Flag.CREATE | Flag.EXCL, body, f"create set {name}")


def add_element(name: str, milliseconds: int) -> NetlinkRequest:
    """Open the window for a time (at least 1 ms); the kernel counts it in ticks, which no clock setting changes."""
    timeout = wire.be64(uapi.ElementAttribute.TIMEOUT, milliseconds)
    flags = Flag.REQUEST | Flag.CREATE | Flag.EXCL
    return NetlinkRequest(Message.NEWSETELEM, flags, _element(name, timeout), f"fill set {name}")


def delete_element(name: str) -> NetlinkRequest:
    """End the window. The kernel refuses with ENOENT if it is over."""
    return NetlinkRequest(Message.DELSETELEM, Flag.REQUEST, _element(name), f"end {name}")


def is_window(found: Mapping[int, memoryview]) -> bool:
    """Tell whether an answer to `messages.dump` of sets describes a set like those that `new_window` makes."""
    return (
        wire.number_in(found, uapi.SetAttribute.FLAGS) == SetFlag.TIMEOUT
        and wire.number_in(found, uapi.SetAttribute.KEY_TYPE) == KeyType.MARK
        and wire.number_in(found, uapi.SetAttribute.KEY_LEN) == len(KEY)
    )


def milliseconds_left(dumped: Iterable[memoryview]) -> int | None:
    """Return how long the window is still open, from lists of elements; None if it is over."""
    for items in dumped:
        for _, item in netlink.attributes(items):
            found = wire.parse(item)
            if bytes(wire.parse(found[uapi.ElementAttribute.KEY])[uapi.DATA_VALUE]) == KEY:
                timed = uapi.ElementAttribute.EXPIRATION in found
                return wire.number_in(found, uapi.ElementAttribute.EXPIRATION) if timed else NEVER
    return None


def _element(name: str, *more: bytes) -> bytes:
    return (
        wire.string(uapi.ElementsAttribute.TABLE, TABLE)
        + wire.string(uapi.ElementsAttribute.SET, name)
        + wire.nested(uapi.ElementsAttribute.ELEMENTS, elements.element(KEY, *more))
    )
