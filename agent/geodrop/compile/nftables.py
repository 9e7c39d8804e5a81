"""What the nftables maps of a service hold: only what it drops, would drop, or must tell apart from that.

The maps are compact here, three columns an interval; the engine turns them into netlink messages. A country between
two countries of the same fate is an interval of its own, since counters are by region. Where that makes the maps large,
as it does where a few countries are allowed and all others are dropped, what is dropped is joined whatever its region,
and counts as `other`: that takes as many intervals as what is accepted (docs/decisions/0028-small-maps.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from geodrop.policy.model import Verdict
from geodrop.ruleset.model import NO_CLASS, OTHER, Target

if TYPE_CHECKING:
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
"""Joining must save one interval in so many, or else regions are told apart all the same."""


def build_maps(zones: Zones, rows: Rows, service: int, name: str) -> tuple[tuple[Target, ...], dict[str, bytes]]:
    """The targets of one service and its sections (see ruleset.model).

    How large the maps are depends on the addresses alone, so a service keeps its form when its mode changes.
    """
    ipv4 = [_ipv4_target(rows, zone, service) for zone in range(len(rows.zones))]
    drops_ipv4 = any(target is not None for target in ipv4)
    ipv6 = [_ipv6_target(rows, zone, service, drops_ipv4=drops_ipv4) for zone in range(len(rows.zones))]
    targets, maps = _maps(zones, ipv4, ipv6)
    joined = _maps(zones, _joined(ipv4), _joined(ipv6))
    if is_joined(_size(maps), _size(joined[1])):
        targets, maps = joined
    sections = {}
    for mapped in maps:
        for column, data in _columns(mapped).items():
            sections[f"nft/{name}/ipv{mapped.family}/{column}"] = data
    return targets, sections


def is_joined(apart: int, joined: int) -> bool:
    """Whether a service's maps join what is dropped, by how many intervals they take either way."""
    return apart > LARGE and SAVED * (apart - joined) >= apart


def _maps(zones: Zones, ipv4: Wanted, ipv6: Wanted) -> tuple[tuple[Target, ...], list[Partition]]:
    """The targets in order, and both families cut up by their numbers."""
    distinct = {target for target in (*ipv4, *ipv6) if target is not None}
    targets = {target: number for number, target in enumerate(sorted(distinct, key=_order))}
    maps = []
    for partition, wanted in ((zones.ipv4, ipv4), (zones.ipv6, ipv6)):
        table = [ABSENT if target is None else targets[target] for target in wanted]
        maps.append(partition.mapped(np.array(table, dtype=np.int32)))
    return tuple(targets), maps


def _size(maps: list[Partition]) -> int:
    return sum(int(np.count_nonzero(mapped.values != ABSENT)) for mapped in maps)


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


def _columns(partition: Partition) -> dict[str, bytes]:
    """The intervals that have a target, as nftables keys: both bounds big-endian, ends exclusive, zero for the end."""
    present = np.flatnonzero(partition.values != ABSENT)
    # An interval's end is the next one's start; the last one ends where the family does, written as zeroes: that is
    # address 0, with which every partition starts.
    starts, ends = partition.starts[present], partition.starts[(present + 1) % len(partition)]
    if partition.family == 4:
        starts, ends = starts.astype(">u4"), ends.astype(">u4")
    return {
        "starts": starts.tobytes(),
        "ends": ends.tobytes(),
        "targets": partition.values[present].astype("<u2").tobytes(),
    }
