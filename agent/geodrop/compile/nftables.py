"""What the nftables maps of a service hold: only what it drops, would drop, or must tell apart from that.

The maps are compact here, three columns an interval; the engine turns them into netlink messages. A country between
two countries of the same fate is an interval of its own, since counters are by region. Where that makes the maps large,
as it does where a few countries are allowed and all others are dropped, what is dropped is joined whatever its region,
and counts as `other`: that takes as many intervals as what is accepted (docs/decisions/0028-small-maps.md). What can be
counted apart in little more than that goes into second maps, which only what is dropped asks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geodrop.policy.model import Rung, Verdict
from geodrop.ruleset.model import NO_CLASS, OTHER, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.compile.rows import Rows
    from geodrop.compile.zones import Zones
    from geodrop.geo.partition import Partition

    Wanted = list[Target | None]
    """What a family's map holds of each zone; None: nothing."""

ABSENT = -1

LARGE = 60_000
"""Intervals of a service, both families together, up to which every region is told apart in them: those of a list of
ten large countries take 45,000."""

SAVED = 4
"""Joining must save one interval in four; otherwise regions are told apart in the map itself."""

USUAL = 45_000
"""Intervals of a deny list of ten countries."""

COSTLY = 2 * USUAL
"""Intervals of a service from which on somebody is told what they cost."""

ROOM = 60_000
"""Intervals of all maps together that tell regions apart beside joined ones. Every nft command of anybody reads all
that a table holds: 600,000 intervals cost it 16 s."""

NAMING = {Rung.PREFIX, Rung.LIST, Rung.SUBDIVISION, Rung.COUNTRY}
"""Rungs on which a line of the policy names what it drops."""


class Maps(NamedTuple):
    """Of one service: the targets, and both families cut up by their numbers.

    `classes` has both families by counter class, where the maps join those; `named` are the classes that a line of the
    policy names.
    """

    targets: tuple[Target, ...]
    families: tuple[Partition, Partition]
    classes: tuple[Partition, Partition] | None = None
    named: frozenset[int] = frozenset()


def build_maps(zones: Zones, rows: Rows, service: int) -> Maps:
    """What one service's maps hold.

    How large the maps are depends on the addresses alone, so a service keeps its form when its mode changes.
    """
    ipv4 = [_ipv4_target(rows, zone, service) for zone in range(len(rows.zones))]
    drops_ipv4 = any(target is not None for target in ipv4)
    ipv6 = [_ipv6_target(rows, zone, service, drops_ipv4=drops_ipv4) for zone in range(len(rows.zones))]
    apart, joined = _maps(zones, ipv4, ipv6), _maps(zones, _joined(ipv4), _joined(ipv6))
    if not is_joined(_size(apart), _size(joined)):
        return apart
    classes = tuple(
        _cut(partition, [target.klass if target and target.kind == "drop" else ABSENT for target in wanted])
        for partition, wanted in ((zones.ipv4, ipv4), (zones.ipv6, ipv6))
    )
    found = {rows.distinct[row[service]] for row in rows.wire}
    named = frozenset(row.klass for row in found if row.verdict == Verdict.DROP and row.rung in NAMING)
    return joined._replace(classes=(classes[0], classes[1]), named=named)


def sections(maps: Maps, name: str, counted: Sequence[int]) -> dict[str, bytes]:
    """The sections of one service (see ruleset.model)."""
    made = {}
    for mapped in maps.families:
        for column, data in _columns(mapped, "targets").items():
            made[f"nft/{name}/ipv{mapped.family}/{column}"] = data
    if maps.classes and counted:
        numbers = {klass: number for number, klass in enumerate(counted)}
        for classes in maps.classes:
            # Without the last, which ABSENT finds.
            table = [numbers.get(klass, ABSENT) for klass in range(int(classes.values.max()) + 1)]
            mapped = classes.mapped(np.array([*table, ABSENT], dtype=np.int32))
            for column, data in _columns(mapped, "classes").items():
                made[f"nft/{name}/ipv{mapped.family}/counted/{column}"] = data
    return made


def counted(services: Sequence[Maps], labels: Sequence[str]) -> list[tuple[int, ...]]:
    """For each service the classes that a second map tells apart; as many as there is room for in all of them.

    First those that a line of the policy names, then those with the fewest intervals, then by name.
    """
    found = []
    for number, maps in enumerate(services):
        sizes = np.zeros(len(labels), dtype=np.int64)
        for classes in maps.classes or ():
            present = classes.values[classes.values != ABSENT]
            sizes += np.bincount(present, minlength=len(labels))
        found += [
            (klass not in maps.named, int(sizes[klass]), labels[klass], number, klass)
            for klass in np.flatnonzero(sizes).tolist()
        ]
    room = ROOM
    chosen: list[list[int]] = [[] for _ in services]
    for _, size, _, number, klass in sorted(found):
        if size <= room:
            room -= size
            chosen[number].append(klass)
    return [tuple(sorted(classes)) for classes in chosen]


def is_joined(apart: int, joined: int) -> bool:
    """Whether a service's maps join what is dropped, by how many intervals they take either way."""
    return apart > LARGE and SAVED * (apart - joined) >= apart


def _maps(zones: Zones, ipv4: Wanted, ipv6: Wanted) -> Maps:
    distinct = {target for target in (*ipv4, *ipv6) if target is not None}
    targets = {target: number for number, target in enumerate(sorted(distinct, key=_order))}
    one, other = (
        _cut(partition, [ABSENT if target is None else targets[target] for target in wanted])
        for partition, wanted in ((zones.ipv4, ipv4), (zones.ipv6, ipv6))
    )
    return Maps(tuple(targets), (one, other))


def _cut(partition: Partition, by_zone: Sequence[int]) -> Partition:
    return partition.mapped(np.array(by_zone, dtype=np.int32))


def _size(maps: Maps) -> int:
    return sum(int(np.count_nonzero(family.values != ABSENT)) for family in maps.families)


def _joined(wanted: Wanted) -> Wanted:
    """The same with everything that is dropped counted together."""
    return [target and (target if target.klass == NO_CLASS else replace(target, klass=OTHER)) for target in wanted]


def _order(target: Target) -> tuple[str, int, str]:
    return target.kind, target.klass, target.embedding or ""


def _ipv4_target(rows: Rows, zone: int, service: int) -> Target | None:
    embedded = rows.distinct[rows.embedded[zone][service]]
    hidden = Target("drop", embedded.klass) if embedded.verdict == Verdict.DROP else None
    if rows.zones[zone].never_drop is not None:
        return Target("never-drop", hidden.klass if hidden else NO_CLASS)
    wire = rows.distinct[rows.wire[zone][service]]
    if wire.verdict == Verdict.ACCEPT and hidden is not None:
        return Target("special", hidden.klass)
    return hidden


def _ipv6_target(rows: Rows, zone: int, service: int, *, drops_ipv4: bool) -> Target | None:
    if rows.zones[zone].never_drop is not None:
        return Target("never-drop")
    wire = rows.distinct[rows.wire[zone][service]]
    if wire.verdict == Verdict.DROP:
        return Target("drop", wire.klass)
    if wire.verdict == "embedded" and drops_ipv4:
        return Target("embedded", embedding=rows.zones[zone].embedding)
    return None


def _columns(partition: Partition, values: str) -> dict[str, bytes]:
    """The intervals that have a value, as nftables keys: both bounds big-endian, ends exclusive, zero for the end."""
    present = np.flatnonzero(partition.values != ABSENT)
    # An interval's end is the next one's start; the last one ends where the family does, written as zeroes: that is
    # address 0, with which every partition starts.
    starts, ends = partition.starts[present], partition.starts[(present + 1) % len(partition)]
    if partition.family == 4:
        starts, ends = starts.astype(">u4"), ends.astype(">u4")
    return {
        "starts": starts.tobytes(),
        "ends": ends.tobytes(),
        values: partition.values[present].astype("<u2").tobytes(),
    }
