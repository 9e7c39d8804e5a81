# SPDX-License-Identifier: Apache-2.0
"""Find what a ruleset changes against another one: see ruleset.difference for what a move is.

*Prefixes* are the fewest CIDR prefixes that make up exactly the addresses that a service newly drops, or no longer
drops. Addresses that move between two dropped regions do not count, and 256 neighbouring addresses are one prefix. Each
service is counted separately.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geodrop.geo.partition import DTYPE, Partition, combine
from geodrop.policy.countries import UNKNOWN
from geodrop.policy.model import Rung
from geodrop.ruleset.difference import Move, PrefixCounts, RulesetDiff, ServiceChange, Shares, line_of
from geodrop.ruleset.model import NO_CLASS
from geodrop.ruleset.region_parts import GLOBAL, LARGEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from geodrop.ruleset.model import Row, Ruleset, ServiceSpec

    Bools = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int64]
    Halves = npt.NDArray[np.uint64]

FAMILIES = (4, 6)
SETTINGS = ("mode", "starts", "ramp", "action", "established")
MATCH = ("catch_all", "tcp", "udp", "protocols", "addresses")
ALL_48S = 1 << 48


def compare(old: Ruleset | None, new: Ruleset) -> RulesetDiff:
    """Return what `new` changes against `old`; None stands for nothing in force, which drops nothing."""
    before, after = _Side(old), _Side(new)
    names = dict.fromkeys([*after.services, *before.services])
    spaces: dict[int, _CutIpv4 | _CutIpv6] = {4: _CutIpv4(before, after), 6: _CutIpv6(before, after)}
    return RulesetDiff(
        tuple(_service(name, before, after, spaces) for name in names),
        never_drop_ports=old is not None
        and (old.meta.never_drop_tcp, old.meta.never_drop_udp) != (new.meta.never_drop_tcp, new.meta.never_drop_udp),
        same_ruleset=old is not None and old.digest == new.digest,
    )


class _Side:
    """One ruleset, with its services by name; for None one zone without services, which no database knows."""

    def __init__(self, ruleset: Ruleset | None) -> None:
        self._ruleset = ruleset
        self.services: dict[str, int] = {}
        self.rows: Sequence[Row] = ()
        if ruleset is None:
            nothing = np.zeros(1, dtype=bool)
            self.special, self.unknown, self.embeds = nothing, ~nothing, nothing
            return
        meta = ruleset.meta
        self.services = {service.name: number for number, service in enumerate(meta.services)}
        self.rows = meta.rows
        shape = (len(meta.zones), len(meta.services))
        self._numbers = np.frombuffer(ruleset.sections["rows"], "<u2").reshape(shape)
        self._drops = np.array([row.verdict == "drop" for row in meta.rows], dtype=bool)
        self.special = np.array([zone.special for zone in meta.zones], dtype=bool)
        self.unknown = np.array([zone.region == str(UNKNOWN) for zone in meta.zones], dtype=bool)
        self.embeds = np.array([zone.embedding is not None for zone in meta.zones], dtype=bool)

    def spec(self, name: str) -> ServiceSpec | None:
        number = self.services.get(name)
        return None if number is None or self._ruleset is None else self._ruleset.meta.services[number]

    def partition(self, family: int) -> Partition:
        """Return a family's intervals with their zones."""
        if self._ruleset is None:
            return Partition(family, np.zeros(1, DTYPE[family]), np.zeros(1, np.int32))
        starts = np.frombuffer(self._ruleset.sections[f"ipv{family}/starts"], DTYPE[family])
        zones = np.frombuffer(self._ruleset.sections[f"ipv{family}/zones"], "<u2")
        return Partition(family, starts, zones.astype(np.int32))

    def numbers(self, name: str) -> Numbers:
        """Return for each zone the number of a service's row, for an address as it is in the packet; int64 (zones,)."""
        return self._numbers[:, self.services[name]].astype(np.int64)

    def dropped(self, name: str) -> Bools:
        """Return for each zone whether a service drops an address of it, as it is in the packet; bool (zones,)."""
        if name not in self.services:
            return np.zeros(len(self.special), dtype=bool)
        found: Bools = self._drops[self._numbers[:, self.services[name]]]
        return found

    def subject(self, row: Row) -> tuple[str, str]:
        """Return the kind and the name of what a row is about."""
        if row.rung == Rung.NEVER_DROP:
            return "prefix", row.line.removeprefix("never_drop: ")
        if not decides(row) or self._ruleset is None:
            return "region", row.line
        label = self._ruleset.meta.classes[row.klass]
        if label.startswith("list:"):
            return "list", label.removeprefix("list:")
        return ("prefix" if row.rung == Rung.PREFIX else "region"), label

    def line(self, row: Row) -> str:
        """Return the line of the policy that a row names."""
        return "" if self._ruleset is None else line_of(self._ruleset.meta.policy_name, row)


def decides(row: Row) -> bool:
    """Return whether a row is about a region, a list or a prefix: not about special addresses, nor embedded ones."""
    return row.klass != NO_CLASS or row.rung == Rung.NEVER_DROP


class _CutFamily:
    """A family cut at the bounds of both rulesets' zones."""

    def __init__(self, old: _Side, new: _Side, family: int) -> None:
        one, other = old.partition(family), new.partition(family)
        if np.array_equal(one.starts.view(np.uint32), other.starts.view(np.uint32)):  # the same databases, most often
            self.starts, self.old, self.new = one.starts, one.values, other.values
        else:
            self.starts, self.old, self.new = combine(one, other)
        self._before, self._after = old, new

    def verdicts(self, name: str) -> tuple[Bools, Bools]:
        """Return for each interval whether a service drops it before and after."""
        return self._before.dropped(name)[self.old], self._after.dropped(name)[self.new]

    def either(self, of_old: Bools, of_new: Bools) -> Bools:
        """Return which intervals have a property of zones in one of the rulesets."""
        return of_old[self.old] | of_new[self.new]

    def sizes(self, chosen: Bools, keys: Numbers) -> npt.NDArray[np.float64]:
        """Return how much of the chosen intervals belongs to each key, in what the family is counted in."""
        raise NotImplementedError

    def share(self, chosen: Bools) -> float:
        """Return the share of the family that the chosen intervals have."""
        raise NotImplementedError


class _CutIpv4(_CutFamily):
    """IPv4, counted in addresses; shares leave special addresses out."""

    def __init__(self, old: _Side, new: _Side) -> None:
        super().__init__(old, new, 4)
        self._sizes = np.diff(self.starts.astype(np.int64), append=1 << 32)
        self._ordinary = ~self.either(old.special, new.special)
        self._whole = int(self._sizes[self._ordinary].sum())

    def sizes(self, chosen: Bools, keys: Numbers) -> npt.NDArray[np.float64]:
        return np.bincount(keys[chosen], weights=self._sizes[chosen]).astype(np.float64)

    def ordinary_sizes(self, chosen: Bools, keys: Numbers) -> npt.NDArray[np.float64]:
        """Return the same without special addresses, as shares of the family."""
        return self.sizes(chosen & self._ordinary, keys) / max(self._whole, 1)

    def share(self, chosen: Bools) -> float:
        return int(self._sizes[chosen & self._ordinary].sum()) / max(self._whole, 1)


class _CutIpv6(_CutFamily):
    """IPv6, counted in /48s of 2000::/3 that are in use; shares leave special ones out, and those that embed IPv4."""

    def __init__(self, old: _Side, new: _Side) -> None:
        super().__init__(old, new, 6)
        high, low = _halves(self.starts)
        first = (high >> np.uint64(16)).astype(np.int64)
        inside = (high & np.uint64(0xFFFF)) | low  # what is left of the address after its /48
        self._first = np.clip(first, *GLOBAL)
        self._end = np.clip(np.append(first[1:] + (inside[1:] != 0), ALL_48S), *GLOBAL)
        known = ~(old.unknown[self.old] & new.unknown[self.new])
        size = self._end - self._first
        self._counted = known & (size > 0) & (size <= LARGEST)
        self._in_use = self._counted & ~self.either(old.embeds | old.special, new.embeds | new.special)
        self._whole = self._count(self._in_use)

    def sizes(self, chosen: Bools, keys: Numbers) -> npt.NDArray[np.float64]:
        at = np.flatnonzero(chosen & self._counted)
        at = at[np.argsort(keys[at], kind="stable")]
        ordered, first, end = keys[at], self._first[at], self._end[at]
        sizes = end - first
        # Two intervals of one key in the same /48 count it once.
        sizes[1:] -= (ordered[1:] == ordered[:-1]) & (end[:-1] > first[1:])
        return np.bincount(ordered, weights=sizes).astype(np.float64)

    def share(self, chosen: Bools) -> float:
        return self._count(chosen & self._in_use) / max(self._whole, 1)

    def _count(self, chosen: Bools) -> int:
        return int(self.sizes(chosen, np.zeros(len(chosen), dtype=np.int64)).sum())


def _service(name: str, old: _Side, new: _Side, spaces: Mapping[int, _CutIpv4 | _CutIpv6]) -> ServiceChange:
    before, after = old.spec(name), new.spec(name)
    dropped = {family: space.verdicts(name) for family, space in spaces.items()}
    changed = {family: one != other for family, (one, other) in dropped.items()}
    moves = _moves(name, old, new, spaces, dropped) if any(chosen.any() for chosen in changed.values()) else []
    prefixes = {
        family: PrefixCounts(*(_prefixes(spaces[family].starts, side & changed[family]) for side in (other, one)))
        for family, (one, other) in dropped.items()
    }
    settings, match = {}, False
    state = "added" if before is None else "removed"
    if before is not None and after is not None:
        settings = {
            field: (getattr(before, field), getattr(after, field))
            for field in SETTINGS
            if getattr(before, field) != getattr(after, field)
        }
        match = any(getattr(before, field) != getattr(after, field) for field in MATCH)
        state = "changed" if moves or settings or match else "same"
    blast_radius = Shares(*(spaces[family].share(changed[family]) for family in FAMILIES))
    newly_dropped = Shares(*(spaces[family].share(changed[family] & dropped[family][1]) for family in FAMILIES))
    return ServiceChange(name, state, moves, blast_radius, newly_dropped, prefixes, settings, match)


def _moves(
    name: str,
    old: _Side,
    new: _Side,
    spaces: Mapping[int, _CutIpv4 | _CutIpv6],
    dropped: Mapping[int, tuple[Bools, Bools]],
) -> list[Move]:
    """Return what moves for a service, newly dropped first, then by size.

    A move is named after the row that decides now. If no line decides now, since the service has gone or the address is
    special or embeds IPv4, it is named after the row that decided before.
    """
    of_old, of_new = len(old.rows), len(new.rows)
    told = np.array([decides(row) for row in new.rows], dtype=bool)
    # The first bit of a key is the new verdict, the others are the number of a row: first the new ones, then the old.
    count = 2 * (of_old + of_new)
    addresses, shares, sites = (np.zeros(count) for _ in range(3))
    seen = np.zeros(count, dtype=bool)
    for family, space in spaces.items():
        before, after = dropped[family]
        changed = before != after
        keys = np.zeros(len(changed), dtype=np.int64)
        if name in new.services:
            keys = new.numbers(name)[space.new]
        if name in old.services:
            untold = ~told[keys] if name in new.services else np.ones(len(changed), dtype=bool)
            keys = np.where(untold, old.numbers(name)[space.old] + of_new, keys)
        keys = 2 * keys + after
        seen[keys[changed]] = True
        found = _padded(space.sizes(changed, keys), count)
        if isinstance(space, _CutIpv4):
            addresses += found
            shares += _padded(space.ordinary_sizes(changed, keys), count)
        else:
            sites += found
    moves = []
    for key in np.flatnonzero(seen).tolist():
        number, to = key >> 1, "drop" if key & 1 else "accept"
        side, row = (new, new.rows[number]) if number < of_new else (old, old.rows[number - of_new])
        line = side.line(row) if side is new else ""
        moves.append(Move(*side.subject(row), to, int(addresses[key]), int(sites[key]), line, float(shares[key])))
    return sorted(moves, key=lambda one: (one.to != "drop", -one.ipv4_addresses, -one.ipv6_48s, one.label))


def _padded(found: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    return np.pad(found, (0, count - len(found)))


def _prefixes(starts: npt.NDArray[Any], chosen: Bools) -> int:
    """Return the least number of prefixes that make up the chosen intervals, neighbours joined."""
    # The places where `chosen` changes: intervals are chosen from the first place to the second, and so on.
    edges = np.flatnonzero(chosen[1:] != chosen[:-1]) + 1
    edges = np.concatenate([[0] if chosen[0] else [], edges, [len(chosen)] if chosen[-1] else []]).astype(np.int64)
    first, end = edges[0::2], edges[1::2]
    first_high, first_low = _halves(starts[first])
    # The end of the last interval is the end of the family.
    end_high, end_low = _halves(starts[end[end < len(starts)]])
    if len(end_low) < len(end):
        wrapped = starts.dtype == DTYPE[6]
        end_high = np.append(end_high, np.uint64(0))
        end_low = np.append(end_low, np.uint64(0 if wrapped else 1 << 32))
    # From the first address to the best aligned address in the interval prefixes grow, and from there to the end they
    # shrink: there is one prefix for each 1 bit of either distance.
    high, low = first_high ^ end_high, first_low ^ end_low
    below_high = _ones(high) >> np.uint64(1)
    below_low = np.where(high != 0, ~np.uint64(0), _ones(low) >> np.uint64(1))
    middle_high, middle_low = end_high & ~below_high, end_low & ~below_low
    borrow = (first_low > middle_low).astype(np.uint64)
    rising = np.bitwise_count(middle_high - first_high - borrow).sum() + np.bitwise_count(middle_low - first_low).sum()
    falling = np.bitwise_count(end_high & below_high).sum() + np.bitwise_count(end_low & below_low).sum()
    # The whole of IPv6 has start and end 0, and is one prefix.
    return int(rising) + int(falling) + int(((high | low) == 0).sum())


def _halves(addresses: npt.NDArray[Any]) -> tuple[Halves, Halves]:
    """Return the upper and the lower 64 bits of addresses."""
    if addresses.dtype == DTYPE[4]:
        return np.zeros(len(addresses), np.uint64), addresses.astype(np.uint64)
    words = np.frombuffer(np.ascontiguousarray(addresses).tobytes(), ">u8").astype(np.uint64)
    return words[0::2], words[1::2]


def _ones(words: Halves) -> Halves:
    """Return each word with all bits set from its highest 1 bit down."""
    for distance in (1, 2, 4, 8, 16, 32):
        words = words | words >> np.uint64(distance)
    return words
