# SPDX-License-Identifier: Apache-2.0
"""Sets whose elements are intervals that the kernel removes after a time, and that count their packets. Pure.

As in a map, an interval is two elements (see `elements`). Only the first one has a timeout and a counter: the kernel
removes both together. Layouts: linux/netfilter/nf_tables.h, nft_set_elem_attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.linux import netlink
from geodrop.nftables.model import SetHeader
from geodrop.nftables.names import TABLE
from geodrop.nftables.netlink import elements, messages, uapi, wire
from geodrop.nftables.netlink.uapi import ElementAttribute, Flag, KeyType, Message, SetFlag
from geodrop.nftables.netlink.wire import NetlinkRequest
from geodrop.ruleset import intervals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_FLAGS = SetFlag.INTERVAL | SetFlag.TIMEOUT
_END = wire.be32(ElementAttribute.FLAGS, uapi.NFT_SET_ELEM_INTERVAL_END)
NEVER = 1 << 50
"""Milliseconds until the end of an element without a timeout: longer than anything of ours."""
_A_TIME = 400
"""Intervals in one message: their attribute has 64 KB at most."""


@dataclass(frozen=True, slots=True)
class TimedInterval:
    """Addresses `first` to `last` as numbers; `left` is how many milliseconds the kernel still keeps the element: NEVER
    for an element of another program that does not expire.

    `whole` is how many milliseconds it keeps it in all, as read; it does not change by itself.
    """

    first: int
    last: int
    left: int
    packets: int = 0
    octets: int = 0
    whole: int = 0


def new_set(header: SetHeader) -> NetlinkRequest:
    """Make an empty set; each element gets a counter of its own."""
    encoded = header.comment.encode() + b"\0"
    body = (
        wire.string(uapi.SetAttribute.TABLE, TABLE)
        + wire.string(uapi.SetAttribute.NAME, header.name)
        + wire.be32(uapi.SetAttribute.FLAGS, _FLAGS)
        + wire.be32(uapi.SetAttribute.KEY_TYPE, header.key)
        + wire.be32(uapi.SetAttribute.KEY_LEN, messages.KEY_LENGTH[header.key])
        + wire.be32(uapi.SetAttribute.ID, 0)
        + wire.attribute(
            uapi.SetAttribute.USERDATA,
            messages.BIG_ENDIAN_KEYS + bytes((uapi.UDATA_SET_COMMENT, len(encoded))) + encoded,
        )
        + _counter(uapi.SetAttribute.EXPR, 0, 0)
    )
    flags = Flag.REQUEST | Flag.CREATE | Flag.EXCL
    return NetlinkRequest(Message.NEWSET, flags, body, f"create set {header.name}")


def read_set(found: Mapping[int, memoryview]) -> SetHeader | None:
    """Read an answer to `messages.dump` of sets; None if it is not a set like those that `new_set` makes."""
    key = wire.number_in(found, uapi.SetAttribute.KEY_TYPE)
    if (
        wire.number_in(found, uapi.SetAttribute.FLAGS) != _FLAGS
        or key not in set(messages.KEY_LENGTH)
        or wire.number_in(found, uapi.SetAttribute.KEY_LEN) != messages.KEY_LENGTH[KeyType(key)]
    ):
        return None
    comment = wire.comment_text(found.get(uapi.SetAttribute.USERDATA), uapi.UDATA_SET_COMMENT)
    return SetHeader(wire.text(found[uapi.SetAttribute.NAME]), comment, KeyType(key))


def add(header: SetHeader, added: Iterable[TimedInterval]) -> Iterator[NetlinkRequest]:
    """Add disjoint intervals, each for `left` milliseconds and with its counts."""
    width = messages.KEY_LENGTH[header.key]
    encoded = [
        _both(
            width,
            one,
            wire.be64(ElementAttribute.TIMEOUT, one.left),
            _counter(ElementAttribute.EXPR, one.packets, one.octets),
        )
        for one in added
    ]
    flags = Flag.REQUEST | Flag.CREATE
    yield from _messages(Message.NEWSETELEM, flags, header.name, encoded, f"fill set {header.name}")


def remove(header: SetHeader, removed: Iterable[TimedInterval]) -> Iterator[NetlinkRequest]:
    """Remove intervals. The kernel refuses the transaction if one of them has just expired (ENOENT)."""
    width = messages.KEY_LENGTH[header.key]
    encoded = [_both(width, one) for one in removed]
    yield from _messages(Message.DELSETELEM, Flag.REQUEST, header.name, encoded, f"empty set {header.name}")


def read(lists: Iterable[memoryview], width: int) -> list[TimedInterval]:
    """Read dumped lists of elements, in order of addresses. The kernel leaves out what has expired."""
    found: list[tuple[int, bool, dict[int, memoryview]]] = []
    for items in lists:
        for _, item in netlink.attributes(items):
            element = wire.parse(item)
            key = wire.parse(element[ElementAttribute.KEY])[uapi.DATA_VALUE]
            end = wire.number_in(element, ElementAttribute.FLAGS) & uapi.NFT_SET_ELEM_INTERVAL_END
            found.append((int.from_bytes(key, "big"), bool(end), element))
    # Of two elements with one key the end comes first: it closes the previous interval.
    found.sort(key=lambda one: (one[0], not one[1]))
    read_in = []
    for number, (first, end, element) in enumerate(found):
        if not end:
            behind = found[number + 1][0] if number + 1 < len(found) else intervals.size(width)
            packets, octets = _counts(element)
            timed = ElementAttribute.EXPIRATION in element
            left = wire.number_in(element, ElementAttribute.EXPIRATION) if timed else NEVER
            whole = wire.number_in(element, ElementAttribute.TIMEOUT)
            read_in.append(TimedInterval(first, behind - 1, left, packets, octets, whole))
    return read_in


def _both(width: int, one: TimedInterval, *more: bytes) -> bytes:
    first = elements.element(intervals.packed(one.first, width), *more)
    if one.last + 1 == intervals.size(width):
        return first
    return first + elements.element(intervals.packed(one.last + 1, width), _END)


def _messages(kind: Message, flags: Flag, name: str, encoded: list[bytes], what: str) -> Iterator[NetlinkRequest]:
    for start in range(0, len(encoded), _A_TIME):
        body = (
            wire.string(uapi.ElementsAttribute.TABLE, TABLE)
            + wire.string(uapi.ElementsAttribute.SET, name)
            + wire.attribute(uapi.ElementsAttribute.ELEMENTS, b"".join(encoded[start : start + _A_TIME]))
        )
        yield NetlinkRequest(kind, flags, body, what)


def _counter(kind: int, packets: int, octets: int) -> bytes:
    data = wire.nested(
        uapi.EXPR_DATA,
        wire.be64(uapi.CounterAttribute.BYTES, octets),
        wire.be64(uapi.CounterAttribute.PACKETS, packets),
    )
    return wire.nested(kind, wire.string(uapi.EXPR_NAME, "counter"), data)


def _counts(element: Mapping[int, memoryview]) -> tuple[int, int]:
    expression = wire.parse(element.get(ElementAttribute.EXPR, memoryview(b"")))
    if uapi.EXPR_DATA not in expression or wire.text(expression[uapi.EXPR_NAME]) != "counter":
        return 0, 0
    counts = wire.parse(expression[uapi.EXPR_DATA])
    return (
        wire.number_in(counts, uapi.CounterAttribute.PACKETS),
        wire.number_in(counts, uapi.CounterAttribute.BYTES),
    )
