# SPDX-License-Identifier: Apache-2.0
"""An overlay generation: its maps hold only what differs from a base, whose maps stay and are looked up second. Pure.

Filling a map costs the kernel over 2 us for each interval. So a change of a few regions or prefixes should not wait for
tens of thousands of unchanged intervals. Each packet pays with one more lookup, so the caller that loads an overlay
must have it compacted into a whole generation (operations.compact).

A base is never an overlay itself. Elements of its maps lead to its own chains, so these stay too. Their work must not
have changed; otherwise no overlay is made.
"""

from __future__ import annotations

import itertools
import random
from array import array
from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

from geodrop.nftables import lookups, names
from geodrop.nftables.model import Content, Space
from geodrop.ruleset import intervals
from geodrop.ruleset.intervals import WIDTH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from geodrop.nftables.model import Map
    from geodrop.ruleset.model import Ruleset, ServiceSpec, Target


LARGEST = 4
"""A map may grow or shrink by at most one in this many intervals."""

SMALLEST = 1000
"""Intervals in all maps of a ruleset together; with fewer, filling whole maps is fast enough."""


@dataclass(frozen=True, slots=True)
class Base:
    """The generation that an overlay stands on: its number, its ruleset's digest and its maps.

    `delta` holds what differs, by the name of the base's map. In it, the target number after the last one of the
    service means "in no map". `delta` is None for a reader, who only knows what both generations hold together.
    `regions` tells whether the base counts by region what would else count as `other`, by maps of its own.
    """

    generation: int
    digest: str
    maps: Collection[str]
    delta: Mapping[str, Content] | None = None
    regions: bool = False

    def base_map(self, service: str, space: Space) -> str:
        """Return the name of the base's map of a service; empty if the base has none, or a map cut into parts."""
        name = names.service_map(self.generation, service, space)
        return name if name in self.maps else ""


def delta(old: Ruleset, new: Ruleset, base: Base) -> Mapping[str, Content] | None:
    """Return what differs, for each map of the base whose service is in the new ruleset; None if there is no such map.

    Return None as well if so much differs that an overlay is not worth it. Embedded addresses always count as
    different, since the chain that looks them up has to look in both generations' maps.
    """
    found = {}
    before = {service.name: service for service in old.meta.services}
    if sum(len(section) for name, section in new.sections.items() if name.endswith("/targets")) < 2 * SMALLEST:
        return None
    for service in new.meta.services:
        differing: dict[int, Content | None] = {}
        for space in Space:
            if base_map := base.base_map(service.name, space):
                if service.name not in before:
                    return None
                if space.family not in differing:
                    differing[space.family] = _delta(old, before[service.name], new, service, space.family)
                content = differing[space.family]
                if content is None:
                    return None
                found[base_map] = content
    return found or None


def translated(verdict: str, map_: Map) -> str:
    """Translate where an element of the base map leads into the overlay's names; its chain there does the same work.

    Not translated are chains that look up embedded addresses: those of the base look in the base's maps only.
    """
    start = f"goto g{names.generation_of(map_.base_map)}-"
    if not verdict.startswith(start) or verdict.rpartition(".")[2] in lookups.EMBEDDED.values():
        return verdict
    return f"goto g{names.generation_of(map_.header.name)}-{verdict.removeprefix(start)}"


def sample(content: Content, count: int) -> dict[bytes, str]:
    """Return addresses at the bounds of random intervals with their verdicts; an empty text where no interval is."""
    found = {}
    for at in random.sample(range(len(content)), min(count, len(content))):
        part = content.part(at, at + 1)
        found[bytes(part.starts)] = str(content.verdicts[part.targets[0]])
        behind = content.part(at + 1, at + 2)
        if any(part.ends):
            touches = bool(behind) and behind.starts == part.ends
            found[bytes(part.ends)] = str(content.verdicts[behind.targets[0]]) if touches else ""
    return found


def _delta(old: Ruleset, before: ServiceSpec, new: Ruleset, after: ServiceSpec, family: int) -> Content | None:
    numbers = {_meaning(new, target): number for number, target in enumerate(after.targets)}
    no_map, unknown = len(numbers), itertools.count(len(numbers) + 1)
    meant = [numbers[one] if (one := _meaning(old, target)) in numbers else next(unknown) for target in before.targets]
    was, now = _intervals(old, before.name, family, meant), _intervals(new, after.name, family, range(no_map))
    gone, come = was - now, now - was
    if LARGEST * max(len(was), len(now)) > (LARGEST + 1) * (len(was) - len(gone)):
        return None
    row, end = _row(width := WIDTH[family]), intervals.size(WIDTH[family])
    embedded = tuple(array("H", [n]).tobytes() for n, target in enumerate(after.targets) if target.kind == "embedded")
    if embedded and family == 6:
        come |= {one for one in now if one.endswith(embedded)}
    both = (
        [(_number(start), _number(behind) or end, what) for start, behind, what in map(row.unpack, some)]
        for some in (gone, come)
    )
    pieces = intervals.joined(
        (start, behind, no_map if says is None else says)
        for start, behind, said, says in intervals.side_by_side(*both)
        if said != says
    )
    starts, ends, targets = bytearray(), bytearray(), array("H")
    for start, behind, says in pieces:
        starts += intervals.packed(start, width)
        ends += intervals.packed(behind, width)
        targets.append(says)
    return Content(width, memoryview(starts).toreadonly(), memoryview(ends).toreadonly(), memoryview(targets), ())


def _meaning(ruleset: Ruleset, target: Target) -> tuple[str, str, str | None]:
    """Return what a target means in any ruleset, independent of its number."""
    return target.kind, ruleset.meta.label(target.klass) or "", target.embedding


def _row(width: int) -> Struct:
    """Pack an interval: first address, the address behind the last, meaning."""
    return Struct(f"={width}s{width}sH")


def _intervals(ruleset: Ruleset, service: str, family: int, meanings: Sequence[int]) -> set[bytes]:
    """Return the intervals of a map as packed rows. Columns are interleaved with byte strides, for speed."""
    section, width = f"nft/{service}/ipv{family}", WIDTH[family]
    targets = array("H", map(meanings.__getitem__, ruleset.sections[f"{section}/targets"].cast("H")))
    starts, ends = (bytes(ruleset.sections[f"{section}/{column}"]) for column in ("starts", "ends"))
    size = _row(width).size
    rows = bytearray(size * len(targets))
    at = itertools.count()
    for column, cell in ((starts, width), (ends, width), (targets.tobytes(), targets.itemsize)):
        for byte in range(cell):
            rows[next(at) :: size] = column[byte::cell]
    return set(Struct(f"{size}s" * len(targets)).unpack(rows))


_number = partial(int.from_bytes, byteorder="big")
