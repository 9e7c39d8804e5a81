# SPDX-License-Identifier: Apache-2.0
"""Build zones: classes of addresses that no line of the policy can tell apart.

The key of a zone is the never-drop prefix that holds it, the prefix rule that wins for each service, the lists drawn
from databases that hold it, and the region; lists and region only if some service falls through to them. Two intervals
with the same key are one zone, in both families, whatever the verdicts are. So a changed verdict changes rows, and
leaves zones and intervals as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geodrop.compile.drawn import Drawn, draw
from geodrop.document.problems import Position, Problem
from geodrop.errors import PolicyError
from geodrop.geo.partition import Partition, constant, longest_match, product
from geodrop.ruleset.model import MAX_ZONES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.geo.world import RegionMap
    from geodrop.policy.countries import Region
    from geodrop.policy.ladder import Ladder
    from geodrop.policy.model import Policy

NONE = -1
"""No never-drop prefix holds the zone; or no prefix rule wins."""

NO_REGION = -100
"""The region is not part of the key: every service decides by a prefix or a list."""


@dataclass(frozen=True, order=True, slots=True)
class ZoneKey:
    """What defines a zone.

    `never_drop` is an index into the never-drop prefixes, `winners` one into each service's ladder.labels. `lists` are
    the names, in order, of the lists drawn from databases that hold the zone. `region` is an index into
    `Zones.regions`, or one of the negative marks of geo.world (special, embedded), or NO_REGION.
    """

    region: int
    never_drop: int
    winners: tuple[int, ...]
    lists: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Zones:
    """Partitions into zone numbers, and the key of each number. `regions` has only subdivisions that a line names.

    `drawn` says why addresses are in lists drawn from databases.
    """

    ipv4: Partition
    ipv6: Partition
    keys: tuple[ZoneKey, ...]
    regions: tuple[Region, ...]
    drawn: Drawn


def build_zones(policy: Policy, ladders: Sequence[Ladder], region_map: RegionMap) -> Zones:
    """Cut both families into zones. Raises PolicyError if there are more than MAX_ZONES."""
    regions, table = _named_regions(region_map.regions, ladders)
    drawn = draw(policy, region_map.attributes, {name for ladder in ladders for name in ladder.drawn})
    keyed = [_keyed(policy, ladders, drawn, partition, table) for partition in (region_map.ipv4, region_map.ipv6)]
    keys = sorted({key for _, own in keyed for key in own})
    if len(keys) > MAX_ZONES:
        message = (
            f"the services' prefixes and lists divide the address space into {len(keys):,} zones, {MAX_ZONES:,} is the "
            "most; use fewer services, or give them the same lists"
        )
        raise PolicyError([Problem(Position(policy.file, 1, 1), message)])
    numbers = {key: number for number, key in enumerate(keys)}
    ipv4, ipv6 = (partition.mapped(np.array([numbers[key] for key in own], dtype=np.int32)) for partition, own in keyed)
    return Zones(ipv4, ipv6, tuple(keys), regions, drawn)


def _named_regions(regions: Sequence[Region], ladders: Sequence[Ladder]) -> tuple[tuple[Region, ...], list[int]]:
    """Return the regions without subdivisions that no service names, and the new number of each old region."""
    named = {code for ladder in ladders for code in ladder.subdivisions}
    reduced = [region.reduced(named) for region in regions]
    kept = sorted(set(reduced))
    numbers = {region: number for number, region in enumerate(kept)}
    return tuple(kept), [numbers[region] for region in reduced]


def _keyed(
    policy: Policy, ladders: Sequence[Ladder], drawn: Drawn, regions: Partition, table: Sequence[int]
) -> tuple[Partition, list[ZoneKey]]:
    """Return one family as a partition into indices of its own list of keys."""
    family = regions.family
    reserved = [(network, number) for number, network in enumerate(policy.never_drop.prefixes)]
    layers = [longest_match(family, reserved, NONE)]
    for ladder in ladders:
        numbers = {label: number for number, label in enumerate(ladder.labels)}
        layers.append(longest_match(family, ((rule.network, numbers[rule.label]) for rule in ladder.prefixes), NONE))
    # Prefixes have few intervals, drawn lists more and regions most: so only the last steps handle many intervals.
    partition = constant(family, 0)
    tuples: list[tuple[int, ...]] = [()]
    lists, held = _lists(drawn, family)
    for layer in (*layers, lists):
        partition, pairs = product(partition, layer)
        tuples = [(*tuples[one], other) for one, other in pairs]
    partition, pairs = product(partition, regions)
    keys = []
    for one, region in pairs:
        never_drop, *winners, number = tuples[one]
        keys.append(_key(ladders, never_drop, tuple(winners), held[number], table[region] if region >= 0 else region))
    return partition, keys


def _lists(drawn: Drawn, family: int) -> tuple[Partition, list[frozenset[str]]]:
    """Return a family as a partition into sets of lists, with these sets: fewer than marks, of which many are alike."""
    numbers: dict[frozenset[str], int] = {frozenset(): 0}
    table = [numbers.setdefault(drawn.lists(mark), len(numbers)) for mark in range(len(drawn.reasons))] or [0]
    return drawn.families[family].mapped(np.array(table, dtype=np.int32)), list(numbers)


def _key(
    ladders: Sequence[Ladder], never_drop: int, winners: tuple[int, ...], held: frozenset[str], region: int
) -> ZoneKey:
    """Return the key of a zone, without lists that no service asks about, and without a region that none asks about."""
    falling = [ladder for ladder, winner in zip(ladders, winners, strict=True) if winner == NONE]
    asked = {name for ladder in falling for name in ladder.drawn.keys() & held}
    by_region = any(not ladder.drawn.keys() & held for ladder in falling)
    return ZoneKey(region if by_region else NO_REGION, never_drop, winners, tuple(sorted(asked)))
