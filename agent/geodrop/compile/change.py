"""What a ruleset changes against the previous one: regions and lines that move, prefixes added and removed.

The comparison is of the ladder's results, so of what is dropped or would be dropped; whether it is dropped yet depends
on the settings (`mode`, `starts`). Services are compared by name.

*Prefixes* are the fewest CIDR prefixes that make up exactly the addresses that a service newly drops, or no longer
drops. Addresses that move between two dropped regions do not count, and 256 neighbouring addresses are one prefix. Each
service is counted separately. An IPv4 address is counted once, not again for each way of embedding it in IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geodrop import utc
from geodrop.geo.partition import DTYPE, Partition, combine
from geodrop.policy.model import Rung
from geodrop.ruleset.model import NO_CLASS
from geodrop.ruleset.ramp import percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from geodrop.ruleset.model import Row, Ruleset, ServiceSpec

    Bools = npt.NDArray[np.bool_]
    Halves = npt.NDArray[np.uint64]

FAMILIES = (4, 6)
BY_REGION = frozenset({Rung.SUBDIVISION, Rung.COUNTRY, Rung.CONTINENT, Rung.UNKNOWN, Rung.DEFAULT})
SETTINGS = ("mode", "starts", "ramp", "action", "established")
MAX_NAMED = 8
"""Most regions and lines that the text names for each direction; the rest is counted."""
SMALL = 0.0005
MATCH = ("catch_all", "tcp", "udp", "protocols", "addresses")


class Moved(NamedTuple):
    """Counter classes whose verdict changes: regions, and the lists and inline prefixes of the policy's lines."""

    regions: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class PrefixCounts(NamedTuple):
    """Numbers of prefixes that are newly dropped and that are no longer dropped."""

    added: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What changes for one service; `state` is "same", "changed", "added" or "removed".

    `shares` is the share of IPv4, 0.0 to 1.0, that moves with each region and line; special addresses are left out.
    `settings` holds the old and new value of each of SETTINGS that differs; `match` says whether `match` differs.
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
        """Return the change as a JSON object."""
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
        """Return what moves: `api drops BR (2.3% of IPv4), accepts VE (0.2% of IPv4)`; "" if nothing moves."""
        verbs = ((self.to_drop, "drops"), (self.to_accept, "accepts"))
        parts = [f"{verb} {self._named(moved)}" for moved, verb in verbs if any(moved)]
        return f"{self.name} {', '.join(parts)}" if parts else ""

    def _named(self, moved: Moved) -> str:
        """Return the names with their shares, the largest first, and at most MAX_NAMED of them."""
        names = sorted([*moved.regions, *moved.lines], key=lambda label: (-self.shares.get(label, 0.0), label))
        left = names[MAX_NAMED:]
        said = [f"{label}{_share(self.shares.get(label, 0.0))}" for label in names[:MAX_NAMED]]
        if left:
            said.append(f"{len(left):,} more{_share(sum(self.shares.get(label, 0.0) for label in left))}")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class RulesetDiff:
    """What one ruleset changes against another. `never_drop_ports`: whether the never-drop ports differ."""

    services: tuple[ServiceChange, ...]
    never_drop_ports: bool = False
    same_ruleset: bool = False

    @property
    def to_drop(self) -> Moved:
        """The regions and lines that move to drop in any service."""
        return _union(service.to_drop for service in self.services)

    @property
    def to_accept(self) -> Moved:
        """The regions and lines that move to accept in any service."""
        return _union(service.to_accept for service in self.services)

    @property
    def prefixes(self) -> PrefixCounts:
        """The prefix counts of all services and both families."""
        counts = [count for service in self.services for count in service.prefixes.values()]
        return PrefixCounts(sum(count.added for count in counts), sum(count.removed for count in counts))

    def summary(self) -> dict[str, Any]:
        """Return the totals and the text line as a JSON object."""
        return {
            "text": self.as_text(),
            "regions": {"to_drop": len(self.to_drop.regions), "to_accept": len(self.to_accept.regions)},
            "lines": {"to_drop": len(self.to_drop.lines), "to_accept": len(self.to_accept.lines)},
            "prefixes": self.prefixes._asdict(),
        }

    def as_json(self) -> dict[str, Any]:
        """Return totals, text line and the changes of each service as a JSON object."""
        return {**self.summary(), "services": {service.name: service.as_json() for service in self.services}}

    def as_text(self) -> str:
        """Return one line: `api drops BR (2.3% of IPv4), +1,203 -87 prefixes`."""
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
    """Return what `new` changes against `old`."""
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
        """Return a family's intervals with their zones."""
        starts = np.frombuffer(self.ruleset.sections[f"ipv{family}/starts"], DTYPE[family])
        zones = np.frombuffer(self.ruleset.sections[f"ipv{family}/zones"], "<u2")
        return Partition(family, starts, zones.astype(np.int32))

    def dropped(self, name: str) -> Bools:
        """Return for each zone whether a service drops an address of it, as it is in the packet; bool (zones,)."""
        number = self.services.get(name)
        if number is None:
            return np.zeros(len(self.ruleset.meta.zones), dtype=bool)
        found: Bools = self._drops[self._rows["rows"][:, number]]
        return found

    def classes(self, name: str) -> npt.NDArray[np.int32]:
        """Return for each zone the counter class of a service's row, for an address in the packet; int32 (zones,)."""
        of_row = np.array([row.klass for row in self.ruleset.meta.rows], dtype=np.int32)
        found: npt.NDArray[np.int32] = of_row[self._rows["rows"][:, self.services[name]]]
        return found

    def ordinary(self) -> Bools:
        """Return which zones are not special; bool (zones,)."""
        return np.array([not zone.special for zone in self.ruleset.meta.zones], dtype=bool)

    def verdicts(self, name: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return whether a service drops each region, and whether it drops what each line names; by counter class."""
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
    """A family cut at the bounds of both rulesets' zones."""

    def __init__(self, old: _Side, new: _Side, family: int) -> None:
        self._old, self._new = old, new
        one, other = old.partition(family), new.partition(family)
        if np.array_equal(one.starts.view(np.uint32), other.starts.view(np.uint32)):  # the same databases, most often
            self._starts, self._old_zones, self._new_zones = one.starts, one.values, other.values
        else:
            self._starts, self._old_zones, self._new_zones = combine(one, other)

    def count(self, name: str) -> PrefixCounts:
        """Return the numbers of prefixes that a service newly drops and no longer drops."""
        before = self._old.dropped(name)[self._old_zones]
        after = self._new.dropped(name)[self._new_zones]
        changed = before != after
        return PrefixCounts(_prefixes(self._starts, after & changed), _prefixes(self._starts, before & changed))

    def shares(self, name: str) -> dict[str, float]:
        """Return the share of the family that changes its verdict, by counter class. IPv4 only.

        Special addresses are left out.
        """
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
        # A region that only one ruleset knows comes from a change of database: its addresses moved, not the region.
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
    """Return the verdict of a region; a subdivision that no line named has the verdict of its country."""
    return verdicts.get(label, verdicts.get(label.partition("-")[0]))


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


def _union(parts: Iterable[Moved]) -> Moved:
    regions: set[str] = set()
    lines: set[str] = set()
    for part in parts:
        regions.update(part.regions)
        lines.update(part.lines)
    return Moved(tuple(sorted(regions)), tuple(sorted(lines)))


def _share(share: float) -> str:
    """Return a share of IPv4 as text; "" for zero."""
    if not share:
        return ""
    return f" ({'<0.1%' if share < SMALL else f'{share:.1%}'} of IPv4)"


def _settings(service: ServiceChange) -> str:
    changed = [f"{name} {_shown(name, old)} -> {_shown(name, new)}" for name, (old, new) in service.settings.items()]
    return " and ".join([*changed, *(["match changed"] if service.match else [])])


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - a setting may have any type
    if name == "ramp":
        return ", ".join(percent(share) + (f" from {utc.moment(at)}" if at else "") for at, share in value) or "100%"
    if name != "starts":
        return str(value)
    return "at once" if value is None else utc.moment(value)
