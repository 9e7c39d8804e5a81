# SPDX-License-Identifier: Apache-2.0
"""The regions of the world for a policy: databases combined and corrected, special and embedding addresses marked.

Beside the regions the map has what else the databases say of addresses, which lists are drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from geodrop.errors import DataError
from geodrop.geo.attributes import NO_ATTRIBUTES, Attributes, gather
from geodrop.geo.partition import Partition, combine, constant, distinct, distinct_below, encode, longest_match
from geodrop.policy.countries import UNKNOWN, Region, country_region
from geodrop.policy.special import EMBEDDED, GLOBAL_UNICAST, REACHABLE
from geodrop.policy.special import SPECIAL as SPECIAL_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.geo.database import Database
    from geodrop.policy.model import Network

    Address = IPv4Address | IPv6Address

# Values of a RegionMap that are not the number of a region.
SPECIAL = -1
SIXTOFOUR = -2
TEREDO = -3
NAT64 = -4
MAPPED = -5
EMBEDDINGS: Mapping[int, str] = {SIXTOFOUR: "6to4", TEREDO: "teredo", NAT64: "nat64", MAPPED: "mapped"}

_BY_REGION = -6  # only inside this module: the databases and corrections decide
_UNKNOWN = 0  # UNKNOWN sorts before every other region
_NONE = -1  # only inside this module: no correction


@dataclass(frozen=True, slots=True)
class World:
    """The combined databases: `regions` are distinct and sorted, UNKNOWN first; partitions have indices into it."""

    regions: tuple[Region, ...]
    ipv4: Partition
    ipv6: Partition


@dataclass(frozen=True, slots=True)
class Location:
    """What is known about one address, whether it is special or not.

    `region` is that of the databases, with corrections applied. `correction` is the corrected network that holds the
    address. `database` names the database that answers, and `record` is its record as JSON values; None if no database
    knows the address.
    """

    region: Region
    correction: Network | None = None
    database: str | None = None
    record: Any = None


@dataclass(frozen=True, slots=True)
class RegionMap:
    """Both families as partitions into regions.

    Values from 0 on are indices into `regions`, where 0 is UNKNOWN; negative values are SPECIAL or one of `EMBEDDINGS`.
    `attributes` are what else the databases say. `warnings` are sentences about the databases together. `corrected` has
    for each corrected network what the databases say of it: countries, `continent:AS` or `unknown`. `undivided` has by
    country the name of a database that has it without a subdivision, and of one that is asked after it and has some.
    """

    regions: tuple[Region, ...]
    ipv4: Partition
    ipv6: Partition
    attributes: Attributes = NO_ATTRIBUTES
    warnings: tuple[str, ...] = ()
    _databases: tuple[Database, ...] = field(default=(), repr=False, compare=False)
    _corrections: _Corrections | None = field(default=None, repr=False, compare=False)
    corrected: Mapping[Network, tuple[str, ...]] = field(default_factory=dict, compare=False)
    undivided: Mapping[str, tuple[str, str]] = field(default_factory=dict, compare=False)

    def alone(self) -> Self:
        """Return the map without the databases, which take far more memory; then `locate` finds no records."""
        return replace(self, _databases=())

    def locate(self, address: Address) -> Location:
        """Return what is known about an address as written; an embedded IPv4 address is not looked up."""
        asked = address.version == 4 or address in GLOBAL_UNICAST
        database = _answering(self._databases, address) if asked else None
        region = database.region_at(address) if database else UNKNOWN
        correction = self._corrections.at(address) if self._corrections else None
        return Location(
            region=correction[1] if correction else region,
            correction=correction[0] if correction else None,
            database=database.name if database else None,
            record=database.record_at(address) if database else None,
        )


def uncorrected(databases: Sequence[Database]) -> RegionMap:
    """Return the map without a policy's corrections. Raises DataError if the databases do not suffice.

    IPv6 outside 2000::/3 is always UNKNOWN: there a database has nothing, or a copy of its IPv4 tree.
    """
    world = unite(databases)
    layers = []
    for family, known in ((4, world.ipv4), (6, world.ipv6)):
        starts, mark, here = combine(_marks(family), known)
        layers.append(Partition(family, starts, np.where(mark == _BY_REGION, here, mark)).merged())
    present, ipv4, ipv6 = _without_gaps(*layers)
    return RegionMap(
        tuple(world.regions[number] for number in present),
        ipv4,
        ipv6,
        gather(databases),
        _coverage(databases),
        tuple(databases),
        undivided=_undivided(databases),
    )


def correct(region_map: RegionMap, corrections: Mapping[Network, str]) -> RegionMap:
    """Return the map with corrections: each replaces the databases' region of its network; the longest network wins."""
    if not corrections:
        return region_map
    corrected = _Corrections(corrections)
    all_regions = sorted({*region_map.regions, *corrected.regions})
    numbers = {region: number for number, region in enumerate(all_regions)}
    # Negative values index from the end of the table, where each is mapped to itself.
    of_map = np.array([*(numbers[region] for region in region_map.regions), *range(_BY_REGION, 0)], dtype=np.int32)
    # The last entry is for addresses without correction: _NONE, -1, as an index means the last entry.
    of_corrections = np.array([*(numbers[region] for region in corrected.regions), _NONE], dtype=np.int32)
    layers = []
    for family, known in ((4, region_map.ipv4), (6, region_map.ipv6)):
        overlay = corrected.partition(family).mapped(of_corrections)
        starts, values, instead = combine(known.mapped(of_map), overlay)
        values = np.where((instead != _NONE) & (values >= 0), instead, values)
        layers.append(Partition(family, starts, values).merged())
    present, ipv4, ipv6 = _without_gaps(*layers)
    return replace(
        region_map,
        regions=tuple(all_regions[number] for number in present),
        ipv4=ipv4,
        ipv6=ipv6,
        corrected={network: _said_of(region_map, network) for network in corrections},
        _corrections=corrected,
    )


def unite(databases: Sequence[Database]) -> World:
    """Combine databases in their order: the first that has a country answers, for continent and subdivision too.

    If none has a country, the first that has a continent answers. Databases that do not tell where addresses are take
    no part. Raises DataError if there is no database of places, or none that covers IPv6.
    """
    if not databases:
        raise DataError("no database", "give at least one GeoIP database (.mmdb)")
    others = [database for database in databases if database.objection]
    databases = [database for database in databases if not database.objection]
    if not databases:
        said = "; ".join(f"{database.name}: {database.objection}" for database in others)
        raise DataError(said, "add a database of countries or cities")
    if all(database.ip_version == 4 for database in databases):
        names = ", ".join(database.name for database in databases)
        raise DataError(f"{names}: no database covers IPv6", "add one that does, or all of IPv6 would be unknown")
    all_regions = sorted({region for database in databases for region in database.regions})
    numbers = {region: number for number, region in enumerate(all_regions)}
    rank = np.array([_rank(region) for region in all_regions])
    families = []
    for family in (4, 6):
        result = constant(family, numbers[UNKNOWN])
        for database in databases:
            table = np.array([numbers[region] for region in database.regions], dtype=np.int32)
            own = (database.ipv4 if family == 4 else database.ipv6).mapped(table)
            starts, before, here = combine(result, own)
            result = Partition(family, starts, np.where(rank[here] > rank[before], here, before)).merged()
        families.append(result)
    return World(tuple(all_regions), *families)


def _rank(region: Region) -> int:
    """Return how precise an answer is: 2 for a country, 1 for only a continent, 0 for nothing."""
    return 2 if region.country else 1 if region.continent else 0


def _answering(databases: Sequence[Database], address: Address) -> Database | None:
    """Return the database whose answer `unite` takes for an address, None if none knows it."""
    # Of equal ranks, max takes the first.
    best = max(databases, key=lambda database: _rank(database.region_at(address)), default=None)
    return best if best and _rank(best.region_at(address)) else None


def _coverage(databases: Sequence[Database]) -> tuple[str, ...]:
    """Return a warning for each family in which no database knows a country."""
    return tuple(
        f"no database knows the country of any IPv{family} address, so every one is unknown"
        for family in (4, 6)
        if not any(database.knows(family) for database in databases)
    )


def _undivided(databases: Sequence[Database]) -> dict[str, tuple[str, str]]:
    """Return the countries that a database has undivided, though one that is asked after it divides them."""
    coarse: dict[str, str] = {}
    found: dict[str, tuple[str, str]] = {}
    for database in databases:
        if database.objection:
            continue
        divided = {region.country for region in database.regions if region.subdivision}
        for country in divided & coarse.keys():
            found.setdefault(country, (coarse[country], database.name))
        for country in {region.country for region in database.regions} - divided:
            coarse.setdefault(country, database.name)
    return found


class _Corrections:
    """Flattened corrections: `regions` has the region of each; partitions have indices into it, _NONE outside."""

    def __init__(self, corrections: Mapping[Network, str]) -> None:
        self._networks = tuple(corrections)
        self.regions = tuple(country_region(country) for country in corrections.values())
        self._partitions = {
            family: longest_match(family, ((network, number) for number, network in enumerate(corrections)), _NONE)
            for family in (4, 6)
        }

    def partition(self, family: int) -> Partition:
        return self._partitions[family]

    def at(self, address: Address) -> tuple[Network, Region] | None:
        number = self._partitions[address.version].value_at(int(address))
        return None if number == _NONE else (self._networks[number], self.regions[number])


def _said_of(region_map: RegionMap, network: Network) -> tuple[str, ...]:
    """Return the countries of a network's addresses, by the regions of a map, in order; else continent or unknown."""
    known = region_map.ipv4 if network.version == 4 else region_map.ipv6
    first, last = encode(network.version, [int(network[0]), int(network[-1])])
    low = np.searchsorted(known.starts, first, side="right") - 1
    high = np.searchsorted(known.starts, last, side="right")
    regions = (region_map.regions[number] for number in distinct(known.values[low:high]).tolist() if number >= 0)
    return tuple(sorted({region.country or str(region) for region in regions}))


def _marks(family: int) -> Partition:
    """Return a family's marks: special, embedding, UNKNOWN by rule, or by region; the longest network decides."""
    marked: list[tuple[Network, int]] = [(network, SPECIAL) for network in SPECIAL_NETWORKS]
    marked += [(network, _BY_REGION) for network in REACHABLE]
    marked += [(EMBEDDED[name], value) for value, name in EMBEDDINGS.items()]
    marked.append((GLOBAL_UNICAST, _BY_REGION))
    return longest_match(family, marked, _BY_REGION if family == 4 else _UNKNOWN)


def _without_gaps(ipv4: Partition, ipv6: Partition) -> tuple[list[int], Partition, Partition]:
    """Return the region numbers that occur, and 0, and both partitions renumbered by their order."""
    values = np.concatenate([ipv4.values, ipv6.values])
    found = np.append(values[values >= 0], np.int32(_UNKNOWN))
    present = distinct_below(found, int(found.max()) + 1)
    # As in `correct`: negative values are mapped to themselves.
    table = np.concatenate([np.arange(present[-1] + 1), np.arange(_BY_REGION, 0)]).astype(np.int32)
    table[present] = np.arange(len(present))
    return present.tolist(), ipv4.mapped(table), ipv6.mapped(table)
