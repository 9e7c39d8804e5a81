"""The elements of maps and sets, to and from netlink. Pure.

An interval is two elements: its first address, with the verdict, and the first address behind it, flagged as an end.
The end is left out where the family ends. Both are always sent otherwise, also where the next interval begins with the
same address, and in ascending order, which the kernel inserts fastest.

The kernel dumps an element in the very bytes that it was sent in, interval sets from the highest address down. So what
a map should hold is encoded once more in that order and compared as bytes; only a difference is ever decoded.

A list of elements must fit an attribute, 64 KB. That is about 900 intervals; the lists below are cut accordingly, which
also bounds the memory that encoding takes: a few hundred kilobytes, whatever the size of the map.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from geodrop.dataplane.nftables import expressions, uapi, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.dataplane.nftables.expressions import Choice, Verdict
    from geodrop.dataplane.nftables.model import Content

MAX_LIST = 65_000
"""Bytes of elements in one attribute, whose length is a uint16."""

_END_FLAG = wire.be32(uapi.Element.FLAGS, uapi.NFT_SET_ELEM_INTERVAL_END)


def lists(content: Content, *, descending: bool = False) -> Iterator[bytes]:
    """All elements of a map, in pieces that each fit an attribute; descending: in the order of the kernel's dump."""
    if not len(content):
        return
    step = MAX_LIST // max(
        len(_start(content.width, verdict)) + _END_SIZE[content.width] for verdict in content.verdicts
    )
    firsts = range(0, len(content), step)
    for first in reversed(firsts) if descending else firsts:
        yield _list(content.part(first, min(first + step, len(content))), descending=descending)


def element(key: bytes, *more: bytes) -> bytes:
    """One element; `more` are its other attributes."""
    return wire.nested(uapi.LIST_ELEM, wire.nested(uapi.Element.KEY, wire.attribute(uapi.DATA_VALUE, key)), *more)


def choice_elements(choice: Choice) -> bytes:
    """The elements of an anonymous set."""
    width = choice.length
    if not choice.interval:
        return b"".join(element(first.to_bytes(width, "big")) for first, _ in choice.ranges)
    parts = []
    for first, last in choice.ranges:
        parts.append(element(first.to_bytes(width, "big")))
        if last + 1 < 1 << 8 * width:
            parts.append(element((last + 1).to_bytes(width, "big"), _END_FLAG))
    return b"".join(parts)


def decode(data: Iterable[memoryview]) -> Iterator[tuple[bytes, bool, Verdict | None]]:
    """Read dumped lists of elements: key, whether it ends an interval, verdict if it has one."""
    for items in data:
        for _, item in wire.attributes(items):
            element = wire.parse(item)
            key = bytes(wire.parse(element[uapi.Element.KEY])[uapi.DATA_VALUE])
            flags = wire.number(element[uapi.Element.FLAGS]) if uapi.Element.FLAGS in element else 0
            value = wire.parse(element[uapi.Element.DATA]) if uapi.Element.DATA in element else {}
            verdict = expressions.decode_verdict(value[uapi.DATA_VERDICT]) if uapi.DATA_VERDICT in value else None
            yield key, bool(flags & uapi.NFT_SET_ELEM_INTERVAL_END), verdict


def ranges(
    elements: Iterable[tuple[bytes, bool, Verdict | None]], width: int, *, interval: bool
) -> Iterator[tuple[int, int, Verdict | None]]:
    """Elements in any order as (first, last, verdict), ascending."""
    # Of two elements with one key the end comes first: it closes the interval before.
    ordered = sorted(elements, key=lambda element: (element[0], not element[1]))
    highest = (1 << 8 * width) - 1
    for number, (key, end, verdict) in enumerate(ordered):
        if end:
            continue
        first = int.from_bytes(key, "big")
        last = first
        if interval:
            last = int.from_bytes(ordered[number + 1][0], "big") - 1 if number + 1 < len(ordered) else highest
        yield first, last, verdict


def _list(content: Content, *, descending: bool) -> bytes:
    """One piece of `lists`. Three constant and two variable strings an interval, joined at once: this is the hot loop."""
    width, count = content.width, len(content)
    cut = struct.Struct(f"{width}s").iter_unpack
    starts = [key for (key,) in cut(content.starts)]
    ends = [key for (key,) in cut(content.ends)]
    targets = content.targets.tolist()
    heads, tails = zip(*(_around_key(width, verdict) for verdict in content.verdicts), strict=True)
    end_head = _around_end(width)
    last_is_open = not any(ends[-1])
    parts = [b""] * (6 * count)
    order = range(6)
    if descending:
        starts.reverse()
        ends.reverse()
        targets.reverse()
        order = (3, 4, 5, 0, 1, 2)  # the end before the start
    parts[order[0] :: 6] = [heads[target] for target in targets]
    parts[order[1] :: 6] = starts
    parts[order[2] :: 6] = [tails[target] for target in targets]
    parts[order[3] :: 6] = [end_head] * count
    parts[order[4] :: 6] = ends
    parts[order[5] :: 6] = [_END_FLAG] * count
    if last_is_open:
        del parts[slice(0, 3) if descending else slice(-3, None)]
    return b"".join(parts)


def _start(width: int, verdict: Verdict) -> bytes:
    return element(bytes(width), wire.nested(uapi.Element.DATA, verdict.data()))


_KEY_AT = 3 * wire.ATTRIBUTE.size
"""Where the key stands in an element: behind the headers of LIST_ELEM, KEY and DATA_VALUE."""

_END_SIZE = {width: len(element(bytes(width), _END_FLAG)) for width in (4, 16)}


def _around_key(width: int, verdict: Verdict) -> tuple[bytes, bytes]:
    whole = _start(width, verdict)
    return whole[:_KEY_AT], whole[_KEY_AT + width :]


def _around_end(width: int) -> bytes:
    return element(bytes(width), _END_FLAG)[:_KEY_AT]
