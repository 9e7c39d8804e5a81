"""The world as a policy sees it: several databases made one, corrected, with what is special or embeds IPv4 marked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from geodrop.errors import DataError
from geodrop.geo.partition import Partition, combine, constant, distinct_below, longest_match
from geodrop.policy.countries import UNKNOWN, Region, country_region
from geodrop.policy.special import EMBEDDED, GLOBAL_UNICAST, REACHABLE
from geodrop.policy.special import SPECIAL as SPECIAL_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.geo.database import Database
    from geodrop.policy.model import Network

    Address = IPv4Address | IPv6Address

# What a value of a RegionMap says when it is no number of a region.
SPECIAL = -1
SIXTOFOUR = -2
TEREDO = -3
NAT64 = -4
MAPPED = -5
EMBEDDINGS: Mapping[int, str] = {SIXTOFOUR: "6to4", TEREDO: "teredo", NAT64: "nat64", MAPPED: "mapped"}

_BY_REGION = -6  # inside this module: what the databases and corrections say
_UNKNOWN = 0  # UNKNOWN sorts before every other region
_NONE = -1  # inside this module: no correction


@dataclass(frozen=True, slots=True)
class World:
    """What databases say together: `regions` are distinct and sorted, UNKNOWN first."""

    regions: tuple[Region, ...]
    ipv4: Partition
    ipv6: Partition


@dataclass(frozen=True, slots=True)
class Location:
    """What is known of one address, be it special or not.

    `region` is what the databases say, with corrections applied. `correction` is the corrected network that holds the
    address. `database` names the database that answers and `record` is what it holds there, as JSON can carry it;
    None if no database knows the address.
    """

    region: Region
    correction: Network | None = None
    database: str | None = None
    record: Any = None


@dataclass(frozen=True, slots=True)
class RegionMap:
    """Both families by region.

    Values from 0 on are numbers of `regions`, of which 0 is UNKNOWN; below 0 they are SPECIAL or one of `EMBEDDINGS`.
    `warnings` are sentences on the databases as a whole.
    """

    regions: tuple[Region, ...]
    ipv4: Partition
    ipv6: Partition
    warnings: tuple[str, ...] = ()
    _databases: tuple[Database, ...] = field(default=(), repr=False, compare=False)
    _corrections: _Corrections | None = field(default=None, repr=False, compare=False)

    def alone(self) -> Self:
        """The same without the databases, which take far more memory; `locate` then knows nothing of them."""
        return replace(self, _databases=())

    def locate(self, address: Address) -> Location:
        """What is known of an address as it stands; an embedded one is not looked at."""
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
    """What the databases say, whatever the policy; raises DataError for databases that are not enough.

    IPv6 outside 2000::/3 is UNKNOWN whatever a database holds there, since that is nothing or a copy of its IPv4 tree.
    """
    world = unite(databases)
    layers = []
    for family, known in ((4, world.ipv4), (6, world.ipv6)):
        starts, mark, here = combine(_marks(family), known)
        layers.append(Partition(family, starts, np.where(mark == _BY_REGION, here, mark)).merged())
    present, ipv4, ipv6 = _without_gaps(*layers)
    return RegionMap(
        tuple(world.regions[number] for number in present), ipv4, ipv6, _coverage(databases), tuple(databases)
    )


def correct(region_map: RegionMap, corrections: Mapping[Network, str]) -> RegionMap:
    """A correction replaces whatever the databases say of its network, the longest network first."""
    if not corrections:
        return region_map
    corrected = _Corrections(corrections)
    all_regions = sorted({*region_map.regions, *corrected.regions})
    numbers = {region: number for number, region in enumerate(all_regions)}
    # Negative values index from the end of the table, where they stand for themselves.
    of_map = np.array([*(numbers[region] for region in region_map.regions), *range(_BY_REGION, 0)], dtype=np.int32)
    # The last entry is for the value of an address without correction, which as an index means the last one.
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
        _corrections=corrected,
    )


def unite(databases: Sequence[Database]) -> World:
    """Combine databases in their order: the first that has a country answers, for continent and subdivision too.

    Where none has a country, the first that has a continent answers. Raises DataError if there is no database, or
    none that covers IPv6.
    """
    if not databases:
        raise DataError("no database", "give at least one GeoIP database (.mmdb)")
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
    """How much an answer says: a country, only a continent, nothing."""
    return 2 if region.country else 1 if region.continent else 0


def _answering(databases: Sequence[Database], address: Address) -> Database | None:
    """The database whose answer `unite` takes for an address, None if none knows it."""
    # Of equals max takes the first.
    best = max(databases, key=lambda database: _rank(database.region_at(address)), default=None)
    return best if best and _rank(best.region_at(address)) else None


def _coverage(databases: Sequence[Database]) -> tuple[str, ...]:
    """A warning for each family of which no database knows a country."""
    return tuple(
        f"no database knows the country of any IPv{family} address, so every one is unknown"
        for family in (4, 6)
        if not any(database.knows(family) for database in databases)
    )


class _Corrections:
    """Corrections flattened: `regions` holds the region of each, `partition` numbers them, _NONE outside."""

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


def _marks(family: int) -> Partition:
    """What is special, embeds IPv4, is UNKNOWN by rule, or goes by region; within these tables the longest decides."""
    marked: list[tuple[Network, int]] = [(network, SPECIAL) for network in SPECIAL_NETWORKS]
    marked += [(network, _BY_REGION) for network in REACHABLE]
    marked += [(EMBEDDED[name], value) for value, name in EMBEDDINGS.items()]
    marked.append((GLOBAL_UNICAST, _BY_REGION))
    return longest_match(family, marked, _BY_REGION if family == 4 else _UNKNOWN)


def _without_gaps(ipv4: Partition, ipv6: Partition) -> tuple[list[int], Partition, Partition]:
    """The numbers from 0 on that occur, 0 always, and both partitions with these numbered anew in their order."""
    values = np.concatenate([ipv4.values, ipv6.values])
    found = np.append(values[values >= 0], np.int32(_UNKNOWN))
    present = distinct_below(found, int(found.max()) + 1)
    # As in `correct`: negative values stand for themselves.
    table = np.concatenate([np.arange(present[-1] + 1), np.arange(_BY_REGION, 0)]).astype(np.int32)
    table[present] = np.arange(len(present))
    return present.tolist(), ipv4.mapped(table), ipv6.mapped(table)
