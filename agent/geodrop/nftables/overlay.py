"""A thin generation: its maps hold what differs from the maps of a base, which stay and are asked second. Pure.

Filling a map costs the kernel over 2 us an interval, so a change of a few regions or prefixes need not wait for the
tens of thousands of intervals that it leaves as they are. Each packet pays for it with a lookup more, so whoever loads
a thin generation has it followed by a whole one (dataplane.settle).

A base is never thin itself. Elements of its maps lead to its own chains, which therefore stay as well; what they do has
not changed, or else the generation is not made thin.
"""

from __future__ import annotations

import itertools
import random
from array import array
from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, TypeVar

from geodrop.nftables import lookups, names
from geodrop.nftables.model import Content, Space
from geodrop.ruleset import intervals
from geodrop.ruleset.intervals import WIDTH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from geodrop.nftables.model import Map
    from geodrop.ruleset.model import Ruleset, ServiceSpec, Target

What = TypeVar("What")

LARGEST = 4
"""A map may grow or shrink by one in so many intervals."""

SMALLEST = 1000
"""Intervals of a ruleset's maps together; with fewer, filling is the least of it."""


@dataclass(frozen=True, slots=True)
class Base:
    """The generation that another one stands on: its ruleset's digest, and what maps there are.

    `delta` has what differs, by the name of the base's map; one number more
    than the service has targets stands there for "in no map". None where only what both hold together is known, as for
    who reads them back. `regions`: its rules tell regions apart of what counts as `other`, by its own maps.
    """

    generation: int
    digest: str
    maps: Collection[str]
    delta: Mapping[str, Content] | None = None
    regions: bool = False

    def base_map(self, service: str, space: Space) -> str:
        """The base's map of a service; empty if it has none, or several."""
        name = names.service_map(self.generation, service, space)
        return name if name in self.maps else ""


def delta(old: Ruleset, new: Ruleset, base: Base) -> Mapping[str, Content] | None:
    """What differs, for each of the base's maps that the new ruleset has a service for; None if there is none.

    None as well if so much differs that a thin generation is not worth it. Embedded addresses always count as moved:
    the chain that looks them up has to ask both generations' maps.
    """
    found = {}
    before = {service.name: service for service in old.meta.services}
    if sum(len(section) for name, section in new.sections.items() if name.endswith("/targets")) < 2 * SMALLEST:
        return None
    for service in new.meta.services:
        differing: dict[int, Content | None] = {}
        for space in Space:
            if below := base.base_map(service.name, space):
                if service.name not in before:
                    return None
                if space.family not in differing:
                    differing[space.family] = _delta(old, before[service.name], new, service, space.family)
                content = differing[space.family]
                if content is None:
                    return None
                found[below] = content
    return found or None


def in_its_place(verdict: str, map_: Map) -> str:
    """What an element of the map below leads to, in the generation's own words: there is a chain with the same work.

    But for chains that look embedded addresses up: those of the base ask the base's maps alone.
    """
    start = f"goto g{names.generation_of(map_.below)}-"
    if not verdict.startswith(start) or verdict.rpartition(".")[2] in lookups.EMBEDDED.values():
        return verdict
    return f"goto g{names.generation_of(map_.header.name)}-{verdict.removeprefix(start)}"


def spread(content: Content, count: int) -> dict[bytes, str]:
    """Addresses at the bounds of random intervals, and what is said of them; nothing where that is nothing."""
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
    """What a target says in any ruleset, whatever its numbers there."""
    return target.kind, ruleset.meta.label(target.klass) or "", target.embedding


def _row(width: int) -> Struct:
    """An interval: first address, the one behind the last, what it means."""
    return Struct(f"={width}s{width}sH")


def _intervals(ruleset: Ruleset, service: str, family: int, meanings: Sequence[int]) -> set[bytes]:
    """The intervals of a map, each as a row. Its columns are laid side by side a byte at a time, for speed."""
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
