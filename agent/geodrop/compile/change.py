"""What a ruleset changes against the one before: regions and lines that move, prefixes that come and go.

All of it is about what the ladder says, so about what is dropped or would be; whether that happens yet is in the
settings (`mode`, `starts`). Services are compared by name.

*Prefixes* are the fewest CIDR prefixes that make up exactly the addresses that a service newly drops, or drops no more:
what moves between two dropped regions does not count, and 256 neighbouring addresses are one. Several services count
each for itself. An IPv4 address counts as itself only, not once more for each way of hiding it inside IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geodrop import utc
from geodrop.geo.partition import DTYPE, Partition, combine
from geodrop.policy.model import Rung
from geodrop.ruleset.model import NO_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from geodrop.ruleset.model import Row, Ruleset, ServiceSpec

    Bools = npt.NDArray[np.bool_]
    Halves = npt.NDArray[np.uint64]

FAMILIES = (4, 6)
BY_REGION = frozenset({Rung.SUBDIVISION, Rung.COUNTRY, Rung.CONTINENT, Rung.UNKNOWN, Rung.DEFAULT})
SETTINGS = ("mode", "starts", "action", "established")
MAX_NAMED = 8
"""Of regions and lines that move one way, in the line for a person; the rest is counted."""
SMALL = 0.0005
MATCH = ("catch_all", "tcp", "udp", "protocols", "addresses")


class Moved(NamedTuple):
    """Counter classes whose verdict changes: regions, and the lists and inline prefixes of the policy's lines."""

    regions: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class PrefixCounts(NamedTuple):
    """Prefixes that are dropped from now on, and those that are no more."""

    added: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What changes for one service; `state` is "same", "changed", "added" or "removed".

    `shares` is how much of IPv4, 0.0 to 1.0, moves with each region and line: of all addresses but the special ones.
    `settings` holds old and new value of what differs of SETTINGS; `match` says whether it takes other packets.
    """

    name: str
    state: str
    to_drop: Moved
    to_accept: Moved
    prefixes: Mapping[int, PrefixCounts]
    settings: Mapping[str, tuple[Any, Any]]
    match: bool
    shares: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON can carry it."""
        return {
            "state": self.state,
            "to_drop": self.to_drop._asdict(),
            "to_accept": self.to_accept._asdict(),
            "prefixes": {f"ipv{family}": count._asdict() for family, count in self.prefixes.items()},
            "settings": {name: list(values) for name, values in self.settings.items()},
            "match": self.match,
            "shares": {label: round(share, 6) for label, share in self.shares.items()},
        }

    def as_text(self) -> str:
        """What moves, by name: `api drops BR (2.3% of IPv4), accepts VE (0.2% of IPv4)`; empty if nothing does."""
        verbs = ((self.to_drop, "drops"), (self.to_accept, "accepts"))
        parts = [f"{verb} {self._named(moved)}" for moved, verb in verbs if any(moved)]
        return f"{self.name} {', '.join(parts)}" if parts else ""

    def _named(self, moved: Moved) -> str:
        """The largest first, with their shares; no more names than a person reads."""
        names = sorted([*moved.regions, *moved.lines], key=lambda label: (-self.shares.get(label, 0.0), label))
        left = names[MAX_NAMED:]
        said = [f"{label}{_share(self.shares.get(label, 0.0))}" for label in names[:MAX_NAMED]]
        if left:
            said.append(f"{len(left):,} more{_share(sum(self.shares.get(label, 0.0) for label in left))}")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class RulesetDiff:
    """What one ruleset changes against another. `never_drop_ports`: whether these differ."""

    services: tuple[ServiceChange, ...]
    never_drop_ports: bool = False
    same_ruleset: bool = False

    @property
    def to_drop(self) -> Moved:
        """What moves to drop in any service."""
        return _union(service.to_drop for service in self.services)

    @property
    def to_accept(self) -> Moved:
        """What moves to accept in any service."""
        return _union(service.to_accept for service in self.services)

    @property
    def prefixes(self) -> PrefixCounts:
        """Of all services and both families."""
        counts = [count for service in self.services for count in service.prefixes.values()]
        return PrefixCounts(sum(count.added for count in counts), sum(count.removed for count in counts))

    def summary(self) -> dict[str, Any]:
        """The totals, and the line for a person."""
        return {
            "text": self.as_text(),
            "regions": {"to_drop": len(self.to_drop.regions), "to_accept": len(self.to_accept.regions)},
            "lines": {"to_drop": len(self.to_drop.lines), "to_accept": len(self.to_accept.lines)},
            "prefixes": self.prefixes._asdict(),
        }

    def as_json(self) -> dict[str, Any]:
        """All of it, by service."""
        return {**self.summary(), "services": {service.name: service.as_json() for service in self.services}}

    def as_text(self) -> str:
        """One line: `api drops BR (2.3% of IPv4), +1,203 -87 prefixes`."""
        parts = [text for one in self.services if (text := one.as_text())]
        if any(self.prefixes):
            parts.append(f"+{self.prefixes.added:,} -{self.prefixes.removed:,} prefixes")
        parts += [f"{one.name} {one.state}" for one in self.services if one.state in ("added", "removed")]
        parts += [f"{one.name}: {_settings(one)}" for one in self.services if one.settings or one.match]
        if self.never_drop_ports:
            parts.append("never-drop ports changed")
        if parts:
            return ", ".join(parts)
        return "nothing changed" if self.same_ruleset else "nothing that is dropped changed"


def compare(old: Ruleset, new: Ruleset) -> RulesetDiff:
    """What `new` changes against `old`."""
    one, other = _Side(old), _Side(new)
    names = dict.fromkeys([*other.services, *one.services])
    dropped = {family: _Dropped(one, other, family) for family in FAMILIES}
    return RulesetDiff(
        tuple(_service(name, one, other, dropped) for name in names),
        (old.meta.never_drop_tcp, old.meta.never_drop_udp) != (new.meta.never_drop_tcp, new.meta.never_drop_udp),
        old.digest == new.digest,
    )


class _Side:
    """One ruleset, with its services by name."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.services = {service.name: number for number, service in enumerate(ruleset.meta.services)}
        shape = (len(ruleset.meta.zones), len(ruleset.meta.services))
        self._rows = {
            name: np.frombuffer(ruleset.sections[name], "<u2").reshape(shape) for name in ("rows", "rows_embedded")
        }
        self._drops = np.array([row.verdict == "drop" for row in ruleset.meta.rows], dtype=bool)

    def spec(self, name: str) -> ServiceSpec | None:
        number = self.services.get(name)
        return None if number is None else self.ruleset.meta.services[number]

    def partition(self, family: int) -> Partition:
        """A family's zones."""
        starts = np.frombuffer(self.ruleset.sections[f"ipv{family}/starts"], DTYPE[family])
        zones = np.frombuffer(self.ruleset.sections[f"ipv{family}/zones"], "<u2")
        return Partition(family, starts, zones.astype(np.int32))

    def dropped(self, name: str) -> Bools:
        """For each zone whether a service drops an address of it, as it stands in the packet; (zones,)."""
        number = self.services.get(name)
        if number is None:
            return np.zeros(len(self.ruleset.meta.zones), dtype=bool)
        found: Bools = self._drops[self._rows["rows"][:, number]]
        return found

    def classes(self, name: str) -> npt.NDArray[np.int32]:
        """For each zone the counter class of a service's row, for an address as it stands in the packet; (zones,)."""
        of_row = np.array([row.klass for row in self.ruleset.meta.rows], dtype=np.int32)
        found: npt.NDArray[np.int32] = of_row[self._rows["rows"][:, self.services[name]]]
        return found

    def ordinary(self) -> Bools:
        """Which zones are not special; (zones,)."""
        return np.array([not zone.special for zone in self.ruleset.meta.zones], dtype=bool)

    def verdicts(self, name: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Whether a service drops each region, and what each line names; by counter class."""
        by_region: dict[str, bool] = {}
        by_line: dict[str, bool] = {}
        number = self.services.get(name)
        if number is not None:
            columns = np.concatenate([rows[:, number] for rows in self._rows.values()])
            for row in map(self.ruleset.meta.rows.__getitem__, np.flatnonzero(np.bincount(columns)).tolist()):
                if (label := self._label(row)) is not None:
                    verdicts = by_region if row.rung in BY_REGION else by_line
                    verdicts[label] = verdicts.get(label, False) or row.verdict == "drop"
        return by_region, by_line

    def _label(self, row: Row) -> str | None:
        return None if row.klass == NO_CLASS else self.ruleset.meta.classes[row.klass]


class _Dropped:
    """A family cut up by the zones of both rulesets."""

    def __init__(self, old: _Side, new: _Side, family: int) -> None:
        self._old, self._new = old, new
        one, other = old.partition(family), new.partition(family)
        if np.array_equal(one.starts.view(np.uint32), other.starts.view(np.uint32)):  # the same databases, most often
            self._starts, self._old_zones, self._new_zones = one.starts, one.values, other.values
        else:
            self._starts, self._old_zones, self._new_zones = combine(one, other)

    def count(self, name: str) -> PrefixCounts:
        """The prefixes that a service drops from now on, and no more."""
        before = self._old.dropped(name)[self._old_zones]
        after = self._new.dropped(name)[self._new_zones]
        changed = before != after
        return PrefixCounts(_prefixes(self._starts, after & changed), _prefixes(self._starts, before & changed))

    def shares(self, name: str) -> dict[str, float]:
        """How much of the family, but for special addresses, changes its verdict; by counter class. IPv4 only."""
        changed = self._old.dropped(name)[self._old_zones] != self._new.dropped(name)[self._new_zones]
        side, zones = (self._new, self._new_zones) if name in self._new.services else (self._old, self._old_zones)
        sizes = np.diff(self._starts.astype(np.int64), append=1 << 32)
        classes = side.classes(name)[zones]
        sums = np.bincount(classes[changed] + 1, weights=sizes[changed])
        whole = sizes[side.ordinary()[zones]].sum()
        return {side.ruleset.meta.classes[number - 1]: sums[number] / whole for number in range(1, len(sums))}


def _service(name: str, old: _Side, new: _Side, dropped: Mapping[int, _Dropped]) -> ServiceChange:
    before, after = old.spec(name), new.spec(name)
    (old_regions, old_lines), (new_regions, new_lines) = old.verdicts(name), new.verdicts(name)
    # A service that is not there drops nothing.
    if before is None:
        old_regions = dict.fromkeys(new_regions, False)
    if after is None:
        new_regions = dict.fromkeys(old_regions, False)
    regions = {
        label: verdicts
        for label in sorted({*old_regions, *new_regions})
        # A region that only one of them knows comes from another database: it has not moved, its addresses have.
        if None not in (verdicts := (_of_region(old_regions, label), _of_region(new_regions, label)))
    }
    lines = {
        label: (old_lines.get(label, False), new_lines.get(label, False)) for label in sorted({*old_lines, *new_lines})
    }
    to_drop, to_accept = (
        Moved(*(tuple(label for label in moved if moved[label] == verdicts) for moved in (regions, lines)))
        for verdicts in ((False, True), (True, False))
    )
    prefixes = {family: space.count(name) for family, space in dropped.items()}
    moved_labels = {label for moved in (to_drop, to_accept) for labels in moved for label in labels}
    shares = dropped[4].shares(name) if moved_labels else {}
    settings, match = {}, False
    state = "added" if before is None else "removed"
    if before is not None and after is not None:
        settings = {
            field: (getattr(before, field), getattr(after, field))
            for field in SETTINGS
            if getattr(before, field) != getattr(after, field)
        }
        match = any(getattr(before, field) != getattr(after, field) for field in MATCH)
        moved = (*to_drop, *to_accept, *(any(count) for count in prefixes.values()))
        state = "changed" if any(moved) or settings or match else "same"
    shares = {label: float(shares[label]) for label in sorted(moved_labels) if shares.get(label)}
    return ServiceChange(name, state, to_drop, to_accept, prefixes, settings, match, shares)


def _of_region(verdicts: Mapping[str, bool], label: str) -> bool | None:
    """The verdict of a region; a subdivision that nobody named went with its country."""
    return verdicts.get(label, verdicts.get(label.partition("-")[0]))


def _prefixes(starts: npt.NDArray[Any], chosen: Bools) -> int:
    """How many prefixes the chosen intervals take at least, neighbours joined."""
    # Where it changes: chosen from the first such place to the second, and so on.
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
    # Prefixes grow from the first address up to the address that is aligned best, and shrink from there to the end: one
    # for each bit of either distance.
    high, low = first_high ^ end_high, first_low ^ end_low
    below_high = _ones(high) >> np.uint64(1)
    below_low = np.where(high != 0, ~np.uint64(0), _ones(low) >> np.uint64(1))
    middle_high, middle_low = end_high & ~below_high, end_low & ~below_low
    borrow = (first_low > middle_low).astype(np.uint64)
    rising = np.bitwise_count(middle_high - first_high - borrow).sum() + np.bitwise_count(middle_low - first_low).sum()
    falling = np.bitwise_count(end_high & below_high).sum() + np.bitwise_count(end_low & below_low).sum()
    # All of IPv6 ends where it starts, as both are 0.
    return int(rising) + int(falling) + int(((high | low) == 0).sum())


def _halves(addresses: npt.NDArray[Any]) -> tuple[Halves, Halves]:
    """The upper and the lower 64 bits."""
    if addresses.dtype == DTYPE[4]:
        return np.zeros(len(addresses), np.uint64), addresses.astype(np.uint64)
    words = np.frombuffer(np.ascontiguousarray(addresses).tobytes(), ">u8").astype(np.uint64)
    return words[0::2], words[1::2]


def _ones(words: Halves) -> Halves:
    """The highest bit of each, and all below it."""
    for distance in (1, 2, 4, 8, 16, 32):
        words = words | words >> np.uint64(distance)
    return words


def _union(parts: Iterable[Moved]) -> Moved:
    regions: set[str] = set()
    lines: set[str] = set()
    for part in parts:
        regions.update(part.regions)
        lines.update(part.lines)
    return Moved(tuple(sorted(regions)), tuple(sorted(lines)))


def _share(share: float) -> str:
    """For what has IPv4 addresses how many, as far as that is more than nothing in a person's eyes."""
    if not share:
        return ""
    return f" ({'<0.1%' if share < SMALL else f'{share:.1%}'} of IPv4)"


def _settings(service: ServiceChange) -> str:
    changed = [f"{name} {_shown(name, old)} -> {_shown(name, new)}" for name, (old, new) in service.settings.items()]
    return " and ".join([*changed, *(["match changed"] if service.match else [])])


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - whatever a setting may be
    if name != "starts":
        return str(value)
    return "at once" if value is None else utc.moment(value)
