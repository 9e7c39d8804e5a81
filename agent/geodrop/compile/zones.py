"""Zones: which addresses no line of the policy can tell apart.

The key of a zone is the never-drop prefix that holds it, the prefix rule that wins for each service, and the region,
but the region only where some service falls through to it. Two intervals of the same key are one zone, in either
family, whatever the verdicts are: so a changed verdict changes rows, and leaves zones and intervals as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geodrop.document.problems import Position, Problem
from geodrop.errors import PolicyError
from geodrop.geo.partition import Partition, combine, constant, distinct_below, longest_match
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
"""The region is not part of the key: every service decides by a prefix."""


@dataclass(frozen=True, order=True, slots=True)
class ZoneKey:
    """`never_drop` indexes the `never_drop.prefixes` of the policy, `winners` each service's ladder.labels.

    `region` indexes `Zones.regions`, or is one of the negative marks of geo.world (special, embedded), or NO_REGION.
    """

    region: int
    never_drop: int
    winners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Zones:
    """Partitions into zone numbers, and what each number means. `regions` holds no subdivision that nobody names."""

    ipv4: Partition
    ipv6: Partition
    keys: tuple[ZoneKey, ...]
    regions: tuple[Region, ...]


def build_zones(policy: Policy, ladders: Sequence[Ladder], region_map: RegionMap) -> Zones:
    """Cut both families into zones; raises PolicyError above MAX_ZONES."""
    regions, table = _named_regions(region_map.regions, ladders)
    keyed = [_keyed(policy, ladders, partition, table) for partition in (region_map.ipv4, region_map.ipv6)]
    keys = sorted({key for _, own in keyed for key in own})
    if len(keys) > MAX_ZONES:
        message = (
            f"the services' prefixes and lists divide the address space into {len(keys):,} zones, {MAX_ZONES:,} is the "
            "most; use fewer services, or give them the same lists"
        )
        raise PolicyError([Problem(Position(policy.file, 1, 1), message)])
    numbers = {key: number for number, key in enumerate(keys)}
    ipv4, ipv6 = (partition.mapped(np.array([numbers[key] for key in own], dtype=np.int32)) for partition, own in keyed)
    return Zones(ipv4, ipv6, tuple(keys), regions)


def _named_regions(regions: Sequence[Region], ladders: Sequence[Ladder]) -> tuple[tuple[Region, ...], list[int]]:
    """Regions without the subdivisions that no service names, and for each old number the new one."""
    named = {code for ladder in ladders for code in ladder.subdivisions}
    reduced = [region.reduced(named) for region in regions]
    kept = sorted(set(reduced))
    numbers = {region: number for number, region in enumerate(kept)}
    return tuple(kept), [numbers[region] for region in reduced]


def _keyed(
    policy: Policy, ladders: Sequence[Ladder], regions: Partition, table: Sequence[int]
) -> tuple[Partition, list[ZoneKey]]:
    """One family as a partition into its own list of keys."""
    family = regions.family
    reserved = [(network, number) for number, network in enumerate(policy.never_drop.prefixes)]
    layers = [longest_match(family, reserved, NONE)]
    for ladder in ladders:
        numbers = {label: number for number, label in enumerate(ladder.labels)}
        layers.append(longest_match(family, ((rule.network, numbers[rule.label]) for rule in ladder.prefixes), NONE))
    # The layers are small and the regions large: the regions come last, so that only one step handles many intervals.
    partition = constant(family, 0)
    tuples: list[tuple[int, ...]] = [()]
    for layer in layers:
        partition, pairs = _product(partition, layer)
        tuples = [(*tuples[one], other) for one, other in pairs]
    partition, pairs = _product(partition, regions)
    keys = []
    for one, region in pairs:
        never_drop, winners = tuples[one][0], tuples[one][1:]
        asked = table[region] if region >= 0 else region
        keys.append(ZoneKey(asked if NONE in winners else NO_REGION, never_drop, winners))
    return partition, keys


def _product(one: Partition, other: Partition) -> tuple[Partition, list[tuple[int, int]]]:
    """Both partitions at once: each interval numbered by its pair of values, and the pairs in order of number."""
    starts, left, right = combine(one, other)
    low = int(right.min())
    width = int(right.max()) - low + 1
    codes = left.astype(np.int64) * width + (right - low)
    present = distinct_below(codes, (int(left.max()) + 1) * width)
    pairs = [(int(code) // width, int(code) % width + low) for code in present]
    # By table: of its memory only what is present is ever touched.
    table = np.zeros(present[-1] + 1, dtype=np.int32)
    table[present] = np.arange(len(present))
    return Partition(one.family, starts, table[codes]), pairs
