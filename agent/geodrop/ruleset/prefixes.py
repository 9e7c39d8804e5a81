"""What a service denies, as intervals and as prefixes, from a ruleset alone. IPv4 inside IPv6 is written out.

What the ladder says, whatever `mode` and `starts` are. Everything is yielded in ascending order; nothing is kept.
"""

from __future__ import annotations

import bisect
import socket
from typing import TYPE_CHECKING

from geodrop.ruleset.model import NO_CLASS, Embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.ruleset.model import Ruleset, ServiceSpec, Target

    Interval = tuple[int, int, int]
    """First and last address, and the counter class."""

WIDTH = {4: 4, 6: 16}
"""Bytes of an address, by family."""

_SIXTOFOUR = 0x2002 << 112


def denied(ruleset: Ruleset, service: ServiceSpec, family: int) -> Iterator[Interval]:
    """The intervals of a family that a service drops, or would drop; neighbours of one counter class joined.

    Teredo is left out: the address of the client stands at the end, so what denies it is no interval (`hidden`).
    """
    return _joined(_denied(ruleset, service, family))


def hidden(ruleset: Ruleset, service: ServiceSpec) -> bool:
    """Whether a service denies Teredo clients, which `denied` cannot say."""
    teredo = any(target.embedding == Embedding.TEREDO for target in service.targets)
    return teredo and next(_embedded(_Column(ruleset, service, 4), 0, (1 << 32) - 1), None) is not None


def regardless(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """The same space with counter classes forgotten, in as few intervals as there can be."""
    return _joined((first, last, NO_CLASS) for first, last, _ in intervals)


def prefixes(first: int, last: int, family: int) -> Iterator[str]:
    """An interval as the fewest prefixes, in order; 1.0.1.0/24, or 1.0.1.1/32 for a single address."""
    bits = 8 * WIDTH[family]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    while first <= last:
        # As large as its first address is aligned, but no larger than what is left.
        aligned = (first & -first).bit_length() - 1 if first else bits
        size = min(aligned, (last - first + 1).bit_length() - 1)
        yield f"{socket.inet_ntop(kind, first.to_bytes(WIDTH[family], 'big'))}/{bits - size}"
        first += 1 << size


class _Column:
    """The intervals of one service and family, with random access; ends inclusive."""

    def __init__(self, ruleset: Ruleset, service: ServiceSpec, family: int) -> None:
        section = f"nft/{service.name}/ipv{family}"
        self._width = WIDTH[family]
        self._starts, self._ends = ruleset.sections[f"{section}/starts"], ruleset.sections[f"{section}/ends"]
        self._numbers = ruleset.sections[f"{section}/targets"].cast("H")
        self._targets = service.targets

    def __len__(self) -> int:
        return len(self._numbers)

    def since(self, address: int) -> Iterator[tuple[int, int, Target]]:
        """Those that do not end before an address."""
        begin = bisect.bisect_left(range(len(self)), address, key=self._last)
        for at in range(begin, len(self)):
            yield self._at(self._starts, at), self._last(at), self._targets[self._numbers[at]]

    def _last(self, at: int) -> int:
        # The end of the family is written as zeroes.
        return (self._at(self._ends, at) - 1) % (1 << 8 * self._width)

    def _at(self, column: memoryview, at: int) -> int:
        return int.from_bytes(column[at * self._width : (at + 1) * self._width], "big")


def _denied(ruleset: Ruleset, service: ServiceSpec, family: int) -> Iterator[Interval]:
    ipv4 = _Column(ruleset, service, 4)
    for first, last, target in _Column(ruleset, service, family).since(0):
        if target.kind == "drop":
            yield first, last, target.klass
        elif target.kind == "embedded" and target.embedding:
            yield from _expanded(ipv4, first, last, Embedding(target.embedding))


def _expanded(ipv4: _Column, first: int, last: int, embedding: Embedding) -> Iterator[Interval]:
    """What is denied from `first` to `last`, IPv6 addresses that all hold an IPv4 one in the same way."""
    if embedding is Embedding.TEREDO:
        return
    # From the IPv4 address on there are bits that may be anything, and in front of it some that are the same in all.
    free = 80 if embedding is Embedding.SIXTOFOUR else 0
    base = _SIXTOFOUR if embedding is Embedding.SIXTOFOUR else first >> 32 << 32
    for start, end, klass in _embedded(ipv4, embedding.extract(first), embedding.extract(last)):
        yield max(first, base | start << free), min(last, base | end << free | (1 << free) - 1), klass


def _embedded(ipv4: _Column, first: int, last: int) -> Iterator[Interval]:
    """What is denied of IPv4 addresses inside IPv6 ones: the class of a target that accepts speaks for those."""
    for start, end, target in ipv4.since(first):
        if start > last:
            return
        if target.klass != NO_CLASS:
            yield start, end, target.klass


def _joined(intervals: Iterable[Interval]) -> Iterator[Interval]:
    found: Interval | None = None
    for first, last, klass in intervals:
        if found and found[1] + 1 == first and found[2] == klass:
            found = found[0], last, klass
            continue
        if found:
            yield found
        found = first, last, klass
    if found:
        yield found
