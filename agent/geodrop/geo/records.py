# SPDX-License-Identifier: Apache-2.0
"""Read records of a database: their regions here, other attributes in geo.attribute_records.

These two modules are the only ones that know the schemas of vendors.

Known schemas are MaxMind's GeoIP2 and GeoLite2, Country, City and Enterprise, which DB-IP follows
(`country.iso_code`, else `registered_country.iso_code`; `subdivisions[].iso_code`; `continent.code`), IPinfo's
(`country_code`, or `country` as a string; `region_code`, or `region` beside a `region_name`; `continent_code`, or
`continent` as a string), and the flat schema with only a `country_code`.

Only fields that decide are read: codes of a country, of its subdivisions, and of a continent if there is no country.
Names in twenty languages, coordinates and postal codes may be broken without affecting the region. A file of cities has
a few thousand distinct combinations of these fields in hundreds of thousands of records; each combination is read once.
Codes in MaxMind's schema are read through geoip2's model, which is given nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from geoip2.models import City

from geodrop.geo import attribute_records
from geodrop.geo.attribute_records import NOTHING, AttributeReader, RecordAttributes
from geodrop.geo.section import damaged
from geodrop.policy.countries import CONTINENTS, UNKNOWN, UNKNOWN_CODES, Region, country_region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.geo.section import DataSection, Reference

WANTED = frozenset(
    {
        *("country", "registered_country", "subdivisions", "continent"),
        *("country_code", "region_code", "region", "region_name", "continent_code"),
    }
)
SUBDIVISION = re.compile("[A-Z0-9]{1,3}")
CACHED = 1 << 14  # decoded values; MaxMind's city database has 250 countries and 4,000 lists of subdivisions

Record = Mapping[str, "Reference"]
"""The wanted fields of a record, with references to their values."""

Fields = tuple[tuple[str, "Reference"], ...]
"""The same in file order, as geo.section gives them."""


class Records(NamedTuple):
    """What each record says, in the order of their offsets; `warnings` are sentences without the file's name."""

    regions: list[Region]
    attributes: list[RecordAttributes]
    warnings: list[str]


def read_records(section: DataSection, offsets: Iterable[int], name: str) -> Records:
    """Read records: UNKNOWN and NOTHING for a record that is no map. Raises DataError if one is damaged."""
    regions, attributes = RegionReader(section, name), AttributeReader(section, name)
    found = Records([], [], [])
    known: dict[Fields, tuple[Region, RecordAttributes]] = {}
    no_map = None
    for offset in offsets:
        fields = section.fields(offset, WANTED | attribute_records.WANTED)
        if fields is None:
            no_map, said = offset, (UNKNOWN, NOTHING)
        elif fields in known:
            said = known[fields]
        else:
            place = tuple(one for one in fields if one[0] in WANTED)
            said = regions.read(place), attributes.read(fields) if len(place) < len(fields) else NOTHING
            if _is_shared(fields):
                known[fields] = said
        found.regions.append(said[0])
        found.attributes.append(said[1])
    if no_map is not None and any(region.country for region in found.regions):
        # The format allows maps and other values in one file. No vendor mixes them, but a broken pointer does.
        raise damaged(name, f"the record at byte {no_map} is not a map, as the others are")
    if regions.strange:
        codes = strange_codes(regions.strange)
        found.warnings.append(f"codes that are not in ISO 3166-1, taken as unknown: {codes}")
    if attributes.strange:
        found.warnings.append(f"values that cannot be understood, taken as not said: {', '.join(attributes.strange)}")
    return found


class RegionReader:
    """Reads the regions of records of one data section; `name` is the file's name for messages.

    `strange` collects the country codes found that are neither countries nor known codes for "no country".
    """

    def __init__(self, section: DataSection, name: str) -> None:
        self.strange: set[str] = set()
        self._section = section
        # The caches are bounded: a file whose records share no values would otherwise be held in memory as a whole.
        self._code = lru_cache(maxsize=CACHED)(self._decode_code)
        self._subdivisions = lru_cache(maxsize=CACHED)(self._decode_subdivisions)
        self._name = name
        self._known: dict[Fields, Region] = {}

    def read(self, fields: Fields) -> Region:
        """Return the region that the wanted fields of a record tell. Raises DataError if one is damaged."""
        region = self._known.get(fields)
        if region is None:
            region = self._read(dict(fields))
            if _is_shared(fields):
                self._known[fields] = region
        return region

    def _read(self, record: Record) -> Region:
        code = self._of(record, "country_code") or self._model(record, country="iso_code").country.iso_code
        located = bool(code)
        if not code:
            code = self._model(record, registered_country="iso_code").registered_country.iso_code
        region = country_region(code or "")
        if region.country:
            # Without `country`, the subdivisions need not be in the country of registration, so they are ignored.
            return _with_subdivisions(region, self._within(record)) if located else region
        if code and code not in UNKNOWN_CODES:
            self.strange.add(code)
        continent = self._of(record, "continent_code") or self._model(record, continent="code").continent.code
        return Region(continent=continent if continent and continent in CONTINENTS else "")

    def _model(self, record: Record, **wanted: str) -> City:
        """Return MaxMind's model with only one code of one field of a record, so that other fields may be broken."""
        shaped: dict[str, Any] = {field: {key: self._of(record, field, key)} for field, key in wanted.items()}
        return City(None, **shaped)

    def _within(self, record: Record) -> Iterable[str]:
        """Return the codes of a record's subdivisions, the largest first."""
        if "subdivisions" in record:
            codes = self._subdivisions(record["subdivisions"])
            model = City(None, subdivisions=[{"iso_code": code} for code in codes])
            return (subdivision.iso_code or "" for subdivision in model.subdivisions)
        if "region_code" in record:
            return (self._of(record, "region_code"),)
        # In IPinfo's files `region` is a code if there is also a `region_name`; otherwise it is the name.
        return (self._of(record, "region"),) if "region_name" in record else ()

    def _of(self, record: Record, field: str, key: str | None = None) -> str:
        """Return a field's code: its text, or its value under `key`; "" if there is none."""
        return self._code(record[field], field, key) if field in record else ""

    def _decode_code(self, value: Reference, field: str, key: str | None) -> str:
        if key and (inner := self._section.fields(value, {key})) is not None:
            if not inner:
                return ""
            value = dict(inner)[key]
        decoded = self._section.decode(value)
        if not isinstance(decoded, str):
            raise damaged(self._name, f"a record whose {field} has the code {_shown(decoded)}")
        return decoded

    def _decode_subdivisions(self, value: Reference) -> tuple[str, ...]:
        items = self._section.items(value)
        if items is None:
            raise damaged(self._name, f"a record whose subdivisions are {_shown(self._section.readable(value))}")
        codes = []
        for item in items:
            if self._section.fields(item, ()) is None:
                raise damaged(self._name, f"a record with the subdivision {_shown(self._section.readable(item))}")
            codes.append(self._decode_code(item, "subdivisions", "iso_code"))
        return tuple(codes)


def _is_shared(fields: Fields) -> bool:
    """Return whether other records may have the same fields: an inline value belongs to one record only."""
    return not any(isinstance(value, int) for _, value in fields)


def _with_subdivisions(region: Region, codes: Iterable[str]) -> Region:
    """Return a region with at most two subdivisions, the largest first.

    MaxMind gives the part of a code after the country: "43" for "UA-43". Texts that are no codes of ISO 3166-2 are
    ignored: no policy could name them.
    """
    parts = [code.removeprefix(f"{region.country}-") for code in codes]
    whole = dict.fromkeys(f"{region.country}-{part}" for part in parts if SUBDIVISION.fullmatch(part))
    outer, inner, *_ = (*whole, "", "")
    return Region(region.country, outer, region.continent, inner)


def strange_codes(codes: Iterable[str]) -> str:
    """Return codes for a message: sorted, printable, and at most ten of them."""
    shown = sorted(_shown(code) for code in codes)
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a decoded value as JSON values: bytes as hex, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _shown(value: object) -> str:
    """Return a value for a message, in ASCII and short, because the file may hold anything."""
    text = value if isinstance(value, str) and value.isascii() and value.isprintable() else ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
