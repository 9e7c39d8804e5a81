"""One open database: who it is, and both address families cut up by region."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from geodrop.errors import DataError
from geodrop.geo import contents
from geodrop.geo.metadata import read_metadata
from geodrop.geo.mmdb import NO_DATA, read_tree
from geodrop.geo.partition import distinct_below
from geodrop.geo.records import RegionReader, plain, strange_codes
from geodrop.geo.section import DataSection
from geodrop.policy.countries import UNKNOWN, Region

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.geo.mmdb import Tree
    from geodrop.geo.partition import Partition
    from geodrop.geo.section import Buffer

MAX_SIZE = 1 << 30  # bytes; the largest on sale has about half of that


@dataclass(frozen=True, slots=True)
class Database:
    """A database read in full.

    `name` is the file's name without folders, `sha256` that of the whole file, `build_epoch` in seconds since 1970.
    `regions` are distinct and sorted, UNKNOWN first; `ipv4` and `ipv6` hold numbers of them, neighbours joined. A
    database of `ip_version` 4 says nothing of IPv6, so there everything is unknown. `warnings` are sentences without
    the file's name.
    """

    name: str
    sha256: str
    database_type: str
    build_epoch: int
    ip_version: int
    regions: tuple[Region, ...]
    ipv4: Partition
    ipv6: Partition
    warnings: tuple[str, ...]
    _section: DataSection = field(repr=False, compare=False)
    _tree: Tree = field(repr=False, compare=False)

    @classmethod
    def open(cls, data: Buffer | int, name: str) -> Self:
        """Read a database from memory, a mapped file or a descriptor; raises DataError.

        Give a descriptor (open at its start) where the file might be changed meanwhile: it is copied, so that what is
        read is what the checksum is of, and so that cutting it short cannot kill the process.
        """
        name = os.path.basename(name)
        if isinstance(data, int):
            data = _read(data, name)
        metadata = read_metadata(data, name)
        tree = read_tree(data, metadata)
        section = DataSection(data, metadata.data_start, name)
        reader = RegionReader(section, name)
        found = reader.regions(tree.offsets)
        knows = any(region.country for region in found)
        if objection := contents.objection(metadata.database_type, section, tree.offsets, knows_countries=knows):
            raise DataError(f"{name}: {objection}", "give a database of countries or cities")
        regions = tuple(sorted({UNKNOWN, *found}))
        numbers = {region: number for number, region in enumerate(regions)}
        # The last entry is for NO_DATA: -1, which as an index means the last one.
        table = np.array([*(numbers[region] for region in found), numbers[UNKNOWN]], dtype=np.int32)
        warnings = []
        if reader.strange:
            codes = strange_codes(reader.strange)
            warnings.append(f"codes that are not in ISO 3166-1, taken as unknown: {codes}")
        return cls(
            name=name,
            sha256=hashlib.sha256(data).hexdigest(),
            database_type=metadata.database_type,
            build_epoch=metadata.build_epoch,
            ip_version=metadata.ip_version,
            regions=regions,
            ipv4=tree.ipv4.mapped(table),
            ipv6=tree.ipv6.mapped(table),
            warnings=tuple(warnings),
            _section=section,
            _tree=tree,
        )

    @property
    def subdivisions(self) -> frozenset[str]:
        """The subdivisions it carries, as ISO 3166-2 codes."""
        return frozenset(code for region in self.regions for code in region.subdivisions)

    def knows(self, family: int) -> bool:
        """Whether it knows the country of any address of a family."""
        found = distinct_below(_family(self, family).values, len(self.regions))
        return any(self.regions[number].country for number in found)

    def region_at(self, address: IPv4Address | IPv6Address) -> Region:
        """What it says of one address."""
        return self.regions[_family(self, address.version).value_at(int(address))]

    def record_at(self, address: IPv4Address | IPv6Address) -> Any:  # noqa: ANN401 - whatever the file holds
        """The record that holds an address as far as it can be read, as JSON can carry it; None if there is none."""
        number = _family(self._tree, address.version).value_at(int(address))
        return None if number == NO_DATA else plain(self._section.readable(self._tree.offsets[number]))


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
