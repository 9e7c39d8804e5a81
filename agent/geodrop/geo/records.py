"""From the records of a database to regions. Whatever schema a vendor uses, this is the only place that knows it.

Known are MaxMind's GeoIP2 and GeoLite2, Country, City and Enterprise, which DB-IP follows (`country.iso_code`, else
`registered_country.iso_code`; `subdivisions[].iso_code`; `continent.code`), IPinfo's (`country_code`, or `country` as
a string; `continent_code`, or `continent` as a string), and the flat one of a lone `country_code`.

Records of MaxMind's shape are read through geoip2's models. A file of cities has a few thousand distinct combinations
of country, continent and subdivisions in hundreds of thousands of records, and only combinations are modelled.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from geoip2.models import City

from geodrop.geo.section import damaged
from geodrop.policy.countries import CONTINENTS, UNKNOWN, UNKNOWN_CODES, Region, country_region

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geodrop.geo.section import Reference, Section

CODES = frozenset({"country_code", "continent_code"})
NESTED: Mapping[str, type] = {"country": dict, "registered_country": dict, "continent": dict, "subdivisions": list}
WANTED = CODES | NESTED.keys()
SUBDIVISION = re.compile("[A-Z0-9]{1,3}")
NO_MODEL = City(None)
CACHED = 1 << 14  # decoded values; MaxMind's cities have 250 countries and 4,000 lists of subdivisions


class RegionReader:
    """Reads the regions of records of one data section; `name` is how messages call the file.

    `strange` collects the country codes met that are neither countries nor known to stand for none.
    """

    def __init__(self, section: Section, name: str) -> None:
        self.strange: set[str] = set()
        self._fields = section.fields
        # Bounded, since a file whose records share nothing would otherwise be held in memory whole.
        self._decode = lru_cache(maxsize=CACHED)(section.decode)
        self._name = name
        self._no_map: int | None = None
        self._known: dict[tuple[tuple[str, Reference], ...], Region] = {}

    def regions(self, offsets: Iterable[int]) -> list[Region]:
        """The region of each record, UNKNOWN for one that is no map; raises DataError for one that is damaged."""
        found = [self._region(offset) for offset in offsets]
        if self._no_map is not None and any(region.country for region in found):
            # The format allows both in one file. No vendor does it, but a flipped bit in a pointer does.
            raise damaged(self._name, f"the record at byte {self._no_map} is not a map, as the others are")
        return found

    def _region(self, offset: int) -> Region:
        fields = self._fields(offset, WANTED)
        if fields is None:
            self._no_map = offset
            return UNKNOWN
        region = self._known.get(fields)
        if region is None:
            region = self._read({field: self._decode(value) for field, value in fields})
            if not any(isinstance(value, int) for _, value in fields):  # a value in place is in one record only
                self._known[fields] = region
        return region

    def _read(self, record: Mapping[str, Any]) -> Region:
        model = self._model(record)
        code = self._text(record.get("country_code") or _string(record, "country") or model.country.iso_code)
        subdivisions = [self._text(subdivision.iso_code) for subdivision in model.subdivisions]
        if not code:
            # Subdivisions, if there were any, would not be those of the country that an address is registered in.
            code, subdivisions = self._text(model.registered_country.iso_code), []
        region = country_region(code)
        if region.country:
            return _with_subdivisions(region, subdivisions)
        if code not in UNKNOWN_CODES:
            self.strange.add(code)
        continent = self._text(record.get("continent_code") or _string(record, "continent") or model.continent.code)
        return Region(continent=continent if continent in CONTINENTS else "")

    def _model(self, record: Mapping[str, Any]) -> City:
        """The part of a record that has MaxMind's shape; empty for a record of another one."""
        shaped: dict[str, Any] = {}
        for field, kind in NESTED.items():
            value = record.get(field)
            if isinstance(value, kind):
                shaped[field] = value
            elif value is not None and not isinstance(value, str):
                raise damaged(self._name, f"a record whose {field} is {_shown(value)}")
        try:
            return City(None, **shaped) if shaped else NO_MODEL
        except TypeError as failure:  # a map whose keys are no strings, or a list of something else than maps
            raise damaged(self._name, f"a record that is not as MaxMind writes them ({failure})") from failure

    def _text(self, code: object) -> str:
        if code is None:
            return ""
        if not isinstance(code, str):
            raise damaged(self._name, f"a record with the code {_shown(code)}")
        return code


def _string(record: Mapping[str, Any], field: str) -> str | None:
    value = record.get(field)
    return value if isinstance(value, str) else None


def _with_subdivisions(region: Region, codes: Iterable[str]) -> Region:
    """MaxMind gives the largest first, at most two, and of each the part after the country: "43" for "UA-43".

    What does not look like a code of ISO 3166-2 is passed over: no policy could name it.
    """
    parts = [code.removeprefix(f"{region.country}-") for code in codes]
    whole = dict.fromkeys(f"{region.country}-{part}" for part in parts if SUBDIVISION.fullmatch(part))
    outer, inner, *_ = (*whole, "", "")
    return Region(region.country, outer, region.continent, inner)


def strange_codes(codes: Iterable[str]) -> str:
    """Codes for a message: sorted, printable, and not without end."""
    shown = sorted(_shown(code) for code in codes)
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """A decoded value as JSON can carry it: bytes as hex, numbers that are none as null."""
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
    """A value in a message, in ASCII and short, since the file may hold anything."""
    text = value if isinstance(value, str) and value.isascii() and value.isprintable() else ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
