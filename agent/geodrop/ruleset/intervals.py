# SPDX-License-Identifier: Apache-2.0
"""Intervals of addresses, as rulesets and maps write them.

An interval is its first address and its exclusive end. Written to a file or map, both are big-endian and as wide as the
family's addresses; the end of the family, which would need one bit more, is all zeroes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

What = TypeVar("What")

WIDTH = {4: 4, 6: 16}
"""Bytes of an address, by family."""


def size(width: int) -> int:
    """Return how many addresses of `width` bytes there are: one more than the highest."""
    return 1 << 8 * width


def packed(address: int, width: int) -> bytes:
    """Return an address, or the exclusive end of an interval, as `width` big-endian bytes."""
    return (address % size(width)).to_bytes(width, "big")


def last_before(end: bytes | memoryview) -> int:
    """Return the last address of an interval, from its written exclusive end."""
    return (int.from_bytes(end, "big") - 1) % size(len(end))


def joined(pieces: Iterable[tuple[int, int, What]]) -> Iterator[tuple[int, int, What]]:
    """Yield ascending, disjoint intervals with their values; adjacent intervals with equal values become one."""
    found: tuple[int, int, What] | None = None
    for start, end, what in pieces:
        if found and found[1] == start and found[2] == what:
            found = found[0], end, what
            continue
        if found:
            yield found
        found = start, end, what
    if found:
        yield found


def side_by_side(
    one: Iterable[tuple[int, int, What]], other: Iterable[tuple[int, int, What]]
) -> Iterator[tuple[int, int, What | None, What | None]]:
    """Cut the address space at the bounds of both sides; yield each piece with the value of either side, ascending.

    The intervals of one side are disjoint and may come in any order.
    """
    edges: list[tuple[int, bool, int, Any]] = []
    for side, intervals in ((0, one), (1, other)):
        for start, end, what in intervals:
            edges += ((start, True, side, what), (end, False, side, None))
    edges.sort(key=lambda edge: edge[:2])  # at the same address, ends sort before starts
    here = 0
    says: list[Any] = [None, None]
    for address, _, side, what in edges:
        if address > here and says != [None, None]:
            yield here, address, says[0], says[1]
        here, says[side] = address, what
