# SPDX-License-Identifier: Apache-2.0
"""What databases say of an address besides its region: the number of its network (ASN), and traits such as `vpn`.

The number comes from the first database that has one for the address, and each trait from the first database that has
this trait for it. Nothing is said of IPv6 outside 2000::/3, nor of addresses that embed IPv4: there a database has
nothing, or a copy of its IPv4 tree, and the embedded address is looked up instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

import numpy as np

from geodrop.geo.partition import Partition, combine, constant, longest_match, product
from geodrop.policy.special import EMBEDDED, GLOBAL_UNICAST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.geo.attribute_records import FoundTrait
    from geodrop.geo.database import Database

T = TypeVar("T")
U = TypeVar("U")

FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Layer(Generic[T]):
    """Both families as partitions into indices of `values`. The values are distinct, and the first one is "nothing"."""

    values: tuple[T, ...]
    ipv4: Partition
    ipv6: Partition

    @classmethod
    def empty(cls, nothing: T) -> Self:
        """Return the layer that says nothing of every address."""
        return cls((nothing,), constant(4, 0), constant(6, 0))

    def partition(self, family: int) -> Partition:
        """Return one family."""
        return self.ipv4 if family == 4 else self.ipv6

    def at(self, address: IPv4Address | IPv6Address) -> T:
        """Return what is said of one address."""
        return self.values[self.partition(address.version).value_at(int(address))]

    def mapped(self, said: Callable[[T], U], nothing: U) -> Layer[U]:
        """Return the layer with other values, of which `nothing` becomes the first one."""
        numbers = {nothing: 0}
        table = np.array([numbers.setdefault(said(value), len(numbers)) for value in self.values], dtype=np.int32)
        return Layer(tuple(numbers), self.ipv4.mapped(table), self.ipv6.mapped(table))


class SaidNetwork(NamedTuple):
    """The number of a network and the database that gives it, as an index into `Attributes.databases`."""

    asn: int
    database: int


class SaidTrait(NamedTuple):
    """A trait of an address and the database that gives it, as an index into `Attributes.databases`."""

    found: FoundTrait
    database: int


NO_NETWORK = SaidNetwork(0, -1)
NO_TRAITS: tuple[SaidTrait, ...] = ()


@dataclass(frozen=True, slots=True)
class Attributes:
    """The combined databases: `databases` are their names; `carried` are the traits that any address of each has, and
    `rated` those of them that have a confidence.
    """

    databases: tuple[str, ...]
    networks: Layer[SaidNetwork]
    traits: Layer[tuple[SaidTrait, ...]]
    carried: tuple[frozenset[str], ...] = ()
    rated: tuple[frozenset[str], ...] = ()


NO_ATTRIBUTES = Attributes((), Layer.empty(NO_NETWORK), Layer.empty(NO_TRAITS))


def gather(databases: Sequence[Database]) -> Attributes:
    """Combine databases in their order."""
    networks = Layer.empty(NO_NETWORK)
    traits = Layer.empty(NO_TRAITS)
    for number, database in enumerate(databases):
        if len(database.networks.values) > 1:
            networks = _united(networks, database.networks.mapped(partial(_network, number), NO_NETWORK), _first)
        if len(database.traits.values) > 1:
            traits = _united(traits, database.traits.mapped(partial(_traits, number), NO_TRAITS), _both)
    found = [[one for value in database.traits.values for one in value] for database in databases]
    return Attributes(
        tuple(database.name for database in databases),
        _masked(networks),
        _masked(traits),
        tuple(frozenset(one.name for one in own) for own in found),
        tuple(frozenset(one.name for one in own if one.confidence is not None) for own in found),
    )


def _network(database: int, asn: int) -> SaidNetwork:
    return SaidNetwork(asn, database) if asn else NO_NETWORK


def _traits(database: int, found: tuple[FoundTrait, ...]) -> tuple[SaidTrait, ...]:
    return tuple(SaidTrait(one, database) for one in found)


def _first(one: SaidNetwork, other: SaidNetwork) -> SaidNetwork:
    return other if one == NO_NETWORK else one


def _both(one: tuple[SaidTrait, ...], other: tuple[SaidTrait, ...]) -> tuple[SaidTrait, ...]:
    """Return the traits of both: of two that are the same, the first."""
    names = {trait.found.name for trait in one}
    return tuple(sorted((*one, *(trait for trait in other if trait.found.name not in names)), key=_name))


def _name(trait: SaidTrait) -> str:
    return trait.found.name


def _united(one: Layer[T], other: Layer[T], join: Callable[[T, T], T]) -> Layer[T]:
    numbers = {one.values[0]: 0}
    families = []
    for family in FAMILIES:
        joined, pairs = product(one.partition(family), other.partition(family))
        table = [numbers.setdefault(join(one.values[left], other.values[right]), len(numbers)) for left, right in pairs]
        families.append(joined.mapped(np.array(table, dtype=np.int32)))
    return Layer(tuple(numbers), *families)


def _masked(layer: Layer[T]) -> Layer[T]:
    """Return the layer that says nothing where databases are not asked."""
    asked = [(GLOBAL_UNICAST, 1), *((network, 0) for network in EMBEDDED.values())]
    starts, values, known = combine(layer.ipv6, longest_match(6, asked, 0))
    return Layer(layer.values, layer.ipv4, Partition(6, starts, np.where(known == 1, values, 0)).merged())
