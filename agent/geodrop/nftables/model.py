# SPDX-License-Identifier: Apache-2.0
"""What an nftables table consists of: the same types describe the expected table and the one read back. Pure data.

`render` makes a Program from a ruleset, `readback` reads a Snapshot from the kernel, and `diff` compares them.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from geodrop.engine.api import TICKS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from geodrop.nftables.netlink.expressions import Expression, RuleVerdict
    from geodrop.nftables.netlink.uapi import KeyType


class Space(Enum):
    """The kind of addresses in a map. IPv4 addresses inside IPv6 ones have a map of their own (see `lookups`)."""

    IPV4 = "ipv4"
    INSIDE = "inside"
    IPV6 = "ipv6"

    @property
    def family(self) -> int:
        """The family of the address that is looked up: 4 or 6."""
        return 6 if self is Space.IPV6 else 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `nft list` shows the comment behind it."""

    expressions: tuple[Expression, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain is attached; `policy` is the verdict for packets that no rule decides."""

    type: str
    number: int
    priority: int
    policy: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain with its rules; one with a `hook` is a base chain."""

    name: str
    comment: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class MapHeader:
    """A verdict map whose keys are intervals of addresses; without its elements."""

    name: str
    comment: str
    key: KeyType
    constant: bool = True


@dataclass(frozen=True, slots=True)
class SetHeader:
    """A set of the table, and of no generation, whose elements change while packets are judged: intervals of addresses
    that the kernel removes after a time, each with a counter. Without its elements.
    """

    name: str
    comment: str
    key: KeyType


@dataclass(frozen=True, slots=True)
class Content:
    """The elements of a map: addresses from starts[i] up to, but not including, ends[i] lead to verdicts[targets[i]].

    `starts` and `ends` hold addresses of `width` bytes each, big-endian, ascending; the intervals are disjoint. An end
    of all zeroes means the end of the family; only the last interval can have it. `targets` holds uint16 numbers in
    host byte order.
    """

    width: int
    starts: memoryview
    ends: memoryview
    targets: memoryview
    verdicts: tuple[RuleVerdict, ...]

    def __len__(self) -> int:
        return len(self.targets)

    def only(self, targets: Collection[int]) -> Content:
        """Return the intervals that have one of these targets."""
        width = self.width
        kept = [number for number, target in enumerate(self.targets) if target in targets]
        slices = [slice(number * width, (number + 1) * width) for number in kept]
        return Content(
            width,
            memoryview(b"".join(self.starts[at] for at in slices)),
            memoryview(b"".join(self.ends[at] for at in slices)),
            memoryview(array("H", (self.targets[number] for number in kept))),
            self.verdicts,
        )

    def part(self, first: int, last: int) -> Content:
        """Return intervals `first` up to, but not including, `last`."""
        width = self.width
        return Content(
            width,
            self.starts[first * width : last * width],
            self.ends[first * width : last * width],
            self.targets[first:last],
            self.verdicts,
        )


@dataclass(frozen=True, slots=True)
class Map:
    """A map that should exist. `base_map` names the map of the base generation that is looked up after it, if any."""

    header: MapHeader
    content: Content = field(repr=False)
    base_map: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """Everything of one generation. `switch` holds the base chain's rules that put it in force. `sets` belong to the
    table: generations share them.

    An overlay stands on the generation `base` (see `overlay`). A reader cannot know which of its intervals lie in which
    of the two maps. So for a reader, `content` of a map with `base_map` is what both maps hold together, and
    `shared_chains` are the chains that elements of either map may lead to. The kernel keeps a chain as long as an
    element leads to it.
    """

    generation: int
    counters: tuple[str, ...]
    chains: tuple[Chain, ...]
    maps: tuple[Map, ...]
    switch: tuple[Rule, ...]
    base: int | None = None
    shared_chains: tuple[Chain, ...] = ()
    sets: tuple[SetHeader, ...] = ()


@dataclass(frozen=True, slots=True)
class Surplus:
    """What is in the table but should not be, by name; nothing of ours leads there. `objects` are (type, name)."""

    chains: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    objects: tuple[tuple[int, str], ...] = ()
    flowtables: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.chains or self.sets or self.objects or self.flowtables)


@dataclass(frozen=True, slots=True)
class Expiry:
    """When an element expires, between two moments: the kernel says how long it lasts, but not when it was asked.

    Both are in nanoseconds of the kernel's CLOCK_MONOTONIC.
    """

    earliest: int
    latest: int

    def is_at(self, deadline: int) -> bool:
        """Tell whether the element may expire at a deadline, as exactly as the kernel counts."""
        return self.earliest - TICKS <= deadline <= self.latest + TICKS


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table as it was read back, without the elements of maps and sets.

    `sets`, `objects` (type and name) and `flowtables` are what geodrop never makes: geodrop makes only maps, counters,
    windows, and the sets in `own_sets`. `windows` holds for each set of a window when its element expires; None if it
    has none any more. Anonymous sets belong to their rules and are left out.
    """

    comment: str
    flags: int
    chains: Mapping[str, Chain]
    maps: Mapping[str, MapHeader]
    sets: tuple[str, ...]
    counters: Mapping[str, tuple[int, int]]
    objects: tuple[tuple[int, str], ...] = ()
    flowtables: tuple[str, ...] = ()
    own_sets: Mapping[str, SetHeader] = field(default_factory=dict)
    windows: Mapping[str, Expiry | None] = field(default_factory=dict)
