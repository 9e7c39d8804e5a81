"""What a table is made of, the same for what should be there and for what was read back. Pure data.

`program` makes a Program from a ruleset; `observe` reads a Snapshot from the kernel; `compare` tells them apart.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from geodrop.nftables.netlink.expressions import Expression, RuleVerdict
    from geodrop.nftables.netlink.uapi import KeyType


class Space(Enum):
    """What the addresses of a map are. An IPv4 address inside an IPv6 one has a map of its own (see `lookups`)."""

    IPV4 = "ipv4"
    INSIDE = "inside"
    IPV6 = "ipv6"

    @property
    def family(self) -> int:
        """That of the address which is looked up."""
        return 6 if self is Space.IPV6 else 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; the comment is what `nft list` shows behind it."""

    expressions: tuple[Expression, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain stands in the packet's way; `policy` is what becomes of packets that no rule decides."""

    type: str
    number: int
    priority: int
    policy: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain with its rules; `hook` makes it a base chain."""

    name: str
    comment: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class MapHeader:
    """A verdict map from intervals of addresses, without its elements."""

    name: str
    comment: str
    key: KeyType
    constant: bool = True


@dataclass(frozen=True, slots=True)
class Content:
    """The elements of a map: from starts[i] up to, but not including, ends[i], do as verdicts[targets[i]] says.

    `starts` and `ends`: addresses of `width` bytes each, big-endian, ascending, intervals disjoint; an end of all
    zeroes, which only the last can be, is the end of the family. `targets`: uint16 in the byte order of the host.
    """

    width: int
    starts: memoryview
    ends: memoryview
    targets: memoryview
    verdicts: tuple[RuleVerdict, ...]

    def __len__(self) -> int:
        return len(self.targets)

    def only(self, targets: Collection[int]) -> Content:
        """The intervals that have one of these targets."""
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
        """Intervals `first` up to, but not including, `last`."""
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
    """A map that should be there. `below` is one that is asked after it, of the base that its generation stands on."""

    header: MapHeader
    content: Content = field(repr=False)
    below: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """Everything of one generation. `switch` are the base chain's rules: what puts it in force.

    A thin one stands on the generation `base` (see `thin`). Read back, it is not known which of its intervals lie in
    which of its two maps: then `content` of a map with one `below` is what both hold together, and `either` are the
    chains that elements of theirs may lead to. The kernel keeps a chain as long as an element leads to it.
    """

    generation: int
    counters: tuple[str, ...]
    chains: tuple[Chain, ...]
    maps: tuple[Map, ...]
    switch: tuple[Rule, ...]
    base: int | None = None
    either: tuple[Chain, ...] = ()


@dataclass(frozen=True, slots=True)
class Surplus:
    """What is in the table and should not be, by name: nothing of ours leads there. `objects` have their type."""

    chains: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    objects: tuple[tuple[int, str], ...] = ()
    flowtables: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.chains or self.sets or self.objects or self.flowtables)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table as it was read back, elements of maps left out.

    `sets`, `objects` (type and name) and `flowtables` are what is no map and no counter of geodrop's making; anonymous
    sets go with their rules and are left out.
    """

    comment: str
    flags: int
    chains: Mapping[str, Chain]
    maps: Mapping[str, MapHeader]
    sets: tuple[str, ...]
    counters: Mapping[str, tuple[int, int]]
    objects: tuple[tuple[int, str], ...] = ()
    flowtables: tuple[str, ...] = ()
