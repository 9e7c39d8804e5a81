# SPDX-License-Identifier: Apache-2.0
"""The contents of a service's nftables maps: what it drops or would drop, and what must be told apart from that.

Here the maps are compact, with three columns for each interval; the engine turns them into netlink messages. A country
between two countries with the same verdict is an interval of its own, because counters are by region. If that makes the
maps large, as when a few countries are allowed and all others are dropped, dropped intervals are joined whatever their
region and counted as `other`: then there are about as many intervals as the accepted part has
(docs/decisions/0028-small-maps.md). Regions that can be counted with few more intervals go into second maps, which are
looked up only for packets that are dropped.
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
    """The target of each zone in a family's map; None if the zone is not in the map."""

ABSENT = -1

LARGE = 60_000
"""Intervals of a service, both families together, up to which the map tells every region apart. A list of ten large
countries takes 45,000."""

SAVED = 4
"""Joining must save one interval in four; otherwise regions are told apart in the map itself."""

USUAL = 45_000
"""Intervals of a deny list of ten countries."""

COSTLY = 2 * USUAL
"""Above this number of intervals a service gets a warning about their cost."""

ROOM = 60_000
"""Most intervals of all second maps together, which tell regions apart beside joined maps. Every nft command on the
host reads everything in a table: 600,000 intervals take it 16 s."""

NAMING = {Rung.PREFIX, Rung.LIST, Rung.SUBDIVISION, Rung.COUNTRY}
"""Rungs on which a line of the policy names the addresses or region that it drops."""


class Maps(NamedTuple):
    """The maps of one service: the targets, and both families as partitions into target numbers.

    `classes` has both families as partitions into counter classes, if the maps join classes; `named` are the classes
    that a line of the policy names.
    """

    targets: tuple[Target, ...]
    families: tuple[Partition, Partition]
    classes: tuple[Partition, Partition] | None = None
    named: frozenset[int] = frozenset()


def build_maps(zones: Zones, rows: Rows, service: int) -> Maps:
    """Return the contents of one service's maps.

    Whether maps are joined depends only on the addresses, so it does not change with the service's mode.
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
    """Return the sections of one service (see ruleset.model)."""
    made = {}
    for mapped in maps.families:
        for column, data in _columns(mapped, "targets").items():
            made[f"nft/{name}/ipv{mapped.family}/{column}"] = data
    if maps.classes and counted:
        numbers = {klass: number for number, klass in enumerate(counted)}
        for classes in maps.classes:
            # The table has one more entry at its end, which the index ABSENT (-1) finds.
            table = [numbers.get(klass, ABSENT) for klass in range(int(classes.values.max()) + 1)]
            mapped = classes.mapped(np.array([*table, ABSENT], dtype=np.int32))
            for column, data in _columns(mapped, "classes").items():
                made[f"nft/{name}/ipv{mapped.family}/counted/{column}"] = data
    return made


def counted(services: Sequence[Maps], labels: Sequence[str]) -> list[tuple[int, ...]]:
    """Return for each service the classes that its second map counts, as many as fit into ROOM for all services.

    Classes that a line of the policy names come first, then those with the fewest intervals, then by name.
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
    """Return whether a service's maps join regions, from the numbers of intervals with regions apart and joined."""
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
    """Return the same targets with every counter class replaced by OTHER."""
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
    """Return the intervals that have a value as nftables keys: big-endian, ends exclusive, zero for a family's end."""
    present = np.flatnonzero(partition.values != ABSENT)
    # An interval ends at the start of the next one. The last one ends with the family, which is written as zeroes: the
    # index wraps to the first start, and that is always address 0.
    starts, ends = partition.starts[present], partition.starts[(present + 1) % len(partition)]
    if partition.family == 4:
        starts, ends = starts.astype(">u4"), ends.astype(">u4")
    return {
        "starts": starts.tobytes(),
        "ends": ends.tobytes(),
        values: partition.values[present].astype("<u2").tobytes(),
    }
