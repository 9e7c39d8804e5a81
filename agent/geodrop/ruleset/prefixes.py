# SPDX-License-Identifier: Apache-2.0
"""What a service denies, as intervals and as prefixes, from a ruleset alone. IPv4 embedded in IPv6 is expanded.

The source are zones and rows, not the maps of an engine: the result of the ladder, whatever `mode` and `starts` say.
Everything is yielded in ascending order; nothing is kept in memory.
"""

from __future__ import annotations

import bisect
import socket
from typing import TYPE_CHECKING, Literal

from geodrop.ruleset import intervals
from geodrop.ruleset.intervals import WIDTH
from geodrop.ruleset.model import NO_CLASS, Embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.ruleset.model import Ruleset, ServiceSpec

    Interval = tuple[int, int, int]
    """First and last address, both inclusive, and the counter class."""


_SIXTOFOUR = 0x2002 << 112


def denied(ruleset: Ruleset, service: ServiceSpec, family: int) -> Iterator[Interval]:
    """Yield the intervals of a family that a service drops or would drop; neighbours of one counter class are joined.

    Teredo is left out: the client's address is in the low bits, so denied clients form no intervals (see `hidden`).
    """
    return _joined(_denied(ruleset, ruleset.meta.services.index(service), family))


def hidden(ruleset: Ruleset, service: ServiceSpec) -> bool:
    """Return whether a service denies Teredo clients, which `denied` leaves out."""
    number = ruleset.meta.services.index(service)
    teredo = any(
        zone.embedding == Embedding.TEREDO and ruleset.row(at, number).verdict == "embedded"
        for at, zone in enumerate(ruleset.meta.zones)
    )
    return teredo and next(_Space(ruleset, number, 4, embedded=True).dropped(0, (1 << 32) - 1), None) is not None


def regardless(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """Yield the same addresses without counter classes, in as few intervals as possible."""
    return _joined((first, last, NO_CLASS) for first, last, _ in intervals)


def prefixes(first: int, last: int, family: int) -> Iterator[str]:
    """Yield the fewest prefixes that make up an interval, in order; a single address as 1.0.1.1/32."""
    bits = 8 * WIDTH[family]
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    while first <= last:
        # A prefix is as large as the alignment of its first address allows, but no larger than what is left.
        aligned = (first & -first).bit_length() - 1 if first else bits
        size = min(aligned, (last - first + 1).bit_length() - 1)
        yield f"{socket.inet_ntop(kind, first.to_bytes(WIDTH[family], 'big'))}/{bits - size}"
        first += 1 << size


class _Space:
    """The addresses of a family as a service sees them: intervals without gaps, each with its zone; ends inclusive."""

    def __init__(self, ruleset: Ruleset, service: int, family: int, *, embedded: bool = False) -> None:
        self._starts = ruleset.sections[f"ipv{family}/starts"]
        self._zones = ruleset.sections[f"ipv{family}/zones"].cast("H")
        self._width = WIDTH[family]
        self._order: Literal["little", "big"] = "little" if family == 4 else "big"
        self.rows = [ruleset.row(zone, service, embedded=embedded) for zone in range(len(ruleset.meta.zones))]

    def since(self, address: int) -> Iterator[tuple[int, int, int]]:
        """Yield first address, last address and zone of each interval, from `address` on, that is not accepted."""
        passes = [row.verdict == "accept" for row in self.rows]
        begin = bisect.bisect_right(range(len(self._zones)), address, key=self._start) - 1
        for at in range(begin, len(self._zones)):
            if not passes[zone := self._zones[at]]:
                yield self._start(at), self._start(at + 1) - 1, zone

    def dropped(self, first: int, last: int) -> Iterator[Interval]:
        """Yield the intervals whose own row drops and that hold an address from `first` to `last`, not clipped."""
        for start, end, zone in self.since(first):
            if start > last:
                return
            if self.rows[zone].verdict == "drop":
                yield start, end, self.rows[zone].klass

    def _start(self, at: int) -> int:
        if at == len(self._zones):
            return intervals.size(self._width)
        return int.from_bytes(self._starts[at * self._width : (at + 1) * self._width], self._order)


def _denied(ruleset: Ruleset, service: int, family: int) -> Iterator[Interval]:
    space = _Space(ruleset, service, family)
    inside = _Space(ruleset, service, 4, embedded=True)
    for first, last, zone in space.since(0):
        if (row := space.rows[zone]).verdict == "drop":
            yield first, last, row.klass
        elif embedding := ruleset.meta.zones[zone].embedding:
            yield from _expanded(inside, first, last, Embedding(embedding))


def _expanded(inside: _Space, first: int, last: int, embedding: Embedding) -> Iterator[Interval]:
    """Yield what is denied from `first` to `last`, IPv6 addresses that all embed an IPv4 address in the same way."""
    if embedding is Embedding.TEREDO:
        return
    # The bits after the IPv4 address may have any value; the bits in front of it are the same in all addresses.
    free = 80 if embedding is Embedding.SIXTOFOUR else 0
    base = _SIXTOFOUR if embedding is Embedding.SIXTOFOUR else first >> 32 << 32
    for start, end, klass in inside.dropped(embedding.extract(first), embedding.extract(last)):
        yield max(first, base | start << free), min(last, base | end << free | (1 << free) - 1), klass


def _joined(spans: Iterable[Interval]) -> Iterator[Interval]:
    pieces = ((first, last + 1, klass) for first, last, klass in spans)
    for start, end, klass in intervals.joined(pieces):
        yield start, end - 1, klass
