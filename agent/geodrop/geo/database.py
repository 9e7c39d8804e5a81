# SPDX-License-Identifier: Apache-2.0
"""One open database: its identity, and both address families as partitions into regions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from geodrop.errors import DataError
from geodrop.geo import contents
from geodrop.geo.attribute_records import NOTHING
from geodrop.geo.attributes import Layer
from geodrop.geo.metadata import read_metadata
from geodrop.geo.mmdb import NO_DATA, read_tree
from geodrop.geo.partition import distinct_below
from geodrop.geo.records import plain, read_records
from geodrop.geo.section import DataSection
from geodrop.policy.countries import UNKNOWN, Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.geo.attribute_records import FoundTrait
    from geodrop.geo.mmdb import Tree
    from geodrop.geo.partition import Partition
    from geodrop.geo.section import Buffer

T = TypeVar("T")

MAX_SIZE = 1 << 30  # bytes; the largest on sale has about half of that


@dataclass(frozen=True, slots=True)
class Database:
    """A database read in full.

    `name` is the file's name without folders, `sha256` that of the whole file, `build_epoch` in seconds since 1970.
    `regions` are distinct and sorted, UNKNOWN first; the values of `ipv4` and `ipv6` are indices into it, neighbours
    joined. A database with `ip_version` 4 has no IPv6 data, so all of IPv6 is unknown. `networks` are the numbers of
    networks (0: none), `traits` what else it says of addresses. `warnings` are sentences without the file's name.

    `objection` says why it does not tell where addresses are: then all regions are UNKNOWN, and only networks and
    traits are used. None if it tells.
    """

    name: str
    sha256: str
    database_type: str
    build_epoch: int
    ip_version: int
    regions: tuple[Region, ...]
    ipv4: Partition
    ipv6: Partition
    networks: Layer[int]
    traits: Layer[tuple[FoundTrait, ...]]
    objection: str | None
    warnings: tuple[str, ...]
    _section: DataSection = field(repr=False, compare=False)
    _tree: Tree = field(repr=False, compare=False)

    @classmethod
    def open(cls, data: Buffer | int, name: str) -> Self:
        """Read a database from memory, a mapped file or a descriptor. Raises DataError.

        Pass a descriptor (positioned at the start) if the file may change meanwhile: its content is copied, so that the
        checksum is of the data that is read, and truncating the file cannot kill the process (SIGBUS).
        """
        name = os.path.basename(name)
        if isinstance(data, int):
            data = _read(data, name)
        metadata = read_metadata(data, name)
        tree = read_tree(data, metadata)
        section = DataSection(data, metadata.data_start, name)
        records = read_records(section, tree.offsets, name)
        knows = any(region.country for region in records.regions)
        objection = contents.objection(metadata.database_type, section, tree.offsets, knows_countries=knows)
        if objection and all(said == NOTHING for said in records.attributes):
            raise DataError(f"{name}: {objection}", "give a database of countries or cities")
        found = [UNKNOWN] * len(tree.offsets) if objection else records.regions
        places = _layer(tree, found, sorted({UNKNOWN, *found}))
        asns = [said.asn for said in records.attributes]
        traits = [said.traits for said in records.attributes]
        return cls(
            name=name,
            sha256=hashlib.sha256(data).hexdigest(),
            database_type=metadata.database_type,
            build_epoch=metadata.build_epoch,
            ip_version=metadata.ip_version,
            regions=places.values,
            ipv4=places.ipv4,
            ipv6=places.ipv6,
            networks=_layer(tree, asns, [0, *asns]),
            traits=_layer(tree, traits, [(), *traits]),
            objection=objection,
            warnings=tuple(records.warnings),
            _section=section,
            _tree=tree,
        )

    @property
    def subdivisions(self) -> frozenset[str]:
        """The subdivisions that the database has, as ISO 3166-2 codes."""
        return frozenset(code for region in self.regions for code in region.subdivisions)

    def knows(self, family: int) -> bool:
        """Return whether the database knows the country of any address of a family."""
        found = distinct_below(_family(self, family).values, len(self.regions))
        return any(self.regions[number].country for number in found)

    def region_at(self, address: IPv4Address | IPv6Address) -> Region:
        """Return the region of one address."""
        return self.regions[_family(self, address.version).value_at(int(address))]

    def record_at(self, address: IPv4Address | IPv6Address) -> Any:  # noqa: ANN401 - a value of any type
        """Return the readable parts of the record that holds an address, as JSON values; None if there is no record."""
        number = _family(self._tree, address.version).value_at(int(address))
        return None if number == NO_DATA else plain(self._section.readable(self._tree.offsets[number]))


def _layer(tree: Tree, said: Sequence[T], values: Iterable[T]) -> Layer[T]:
    """Return a layer of what each record says; of no record, the first of `values` is said."""
    distinct = tuple(dict.fromkeys(values))
    if len(distinct) == 1:
        return Layer.empty(distinct[0])
    numbers = {value: number for number, value in enumerate(distinct)}
    # The last entry is for NO_DATA: -1 as an index means the last entry.
    table = np.array([*(numbers[one] for one in said), 0], dtype=np.int32)
    return Layer(distinct, tree.ipv4.mapped(table), tree.ipv6.mapped(table))


def _family(holder: Database | Tree, family: int) -> Partition:
    return holder.ipv4 if family == 4 else holder.ipv6


def _read(descriptor: int, name: str) -> bytes:
    try:
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as failure:
        raise DataError(f"{name}: {failure.strerror}", "give a database that can be read") from failure
    if len(data) > MAX_SIZE:
        raise DataError(f"{name}: larger than {MAX_SIZE >> 20} MB", "give a database of countries or cities")
    return data
