# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from typing import Any

import pytest

from geodrop.errors import DataError
from geodrop.geo.records import WANTED, RegionReader, plain, read_records, strange_codes
from geodrop.geo.section import DataSection
from geodrop.policy.countries import CONTINENTS, COUNTRIES, UNKNOWN, UNKNOWN_CODES, Region
from tests.unit.geo.mmdb_files import encoded

UKRAINE = Region("UA", "", "EU")


def read(*records: object) -> tuple[list[Region], set[str]]:
    """Return the regions of records, and the strange codes found."""
    data, offsets = b"", []
    for record in records:
        offsets.append(len(data))
        data += encoded(record)
    section = DataSection(data, 0, "x.mmdb")
    reader = RegionReader(section, "x.mmdb")
    for offset in offsets:
        reader.read(section.fields(offset, WANTED) or ())
    return read_records(section, offsets, "x.mmdb").regions, reader.strange


def maxmind(**fields: object) -> dict[str, Any]:
    """Return a record of GeoLite2 City with changed fields; None leaves a field out."""
    record = {
        "city": {"geoname_id": 703448, "names": {"de": "Kiew", "en": "Kyiv"}},
        "continent": {"code": "EU", "geoname_id": 6255148, "names": {"en": "Europe"}},
        "country": {"geoname_id": 690791, "iso_code": "UA", "names": {"en": "Ukraine"}},
        "location": {"accuracy_radius": 5, "latitude": 50.458, "longitude": 30.5303, "time_zone": "Europe/Kyiv"},
        "postal": {"code": "03187"},
        "registered_country": {"geoname_id": 690791, "iso_code": "UA", "names": {"en": "Ukraine"}},
        "subdivisions": [{"geoname_id": 703447, "iso_code": "30", "names": {"en": "Kyiv City"}}],
        **fields,
    }
    return {field: value for field, value in record.items() if value is not None}


@pytest.mark.parametrize(
    ("record", "region"),
    [
        # MaxMind, and DB-IP, which follows it
        (maxmind(), Region("UA", "UA-30", "EU")),
        (
            maxmind(country={"iso_code": "GB"}, subdivisions=[{"iso_code": "ENG"}, {"iso_code": "LND"}]),
            Region("GB", "GB-ENG", "EU", "GB-LND"),
        ),
        (maxmind(subdivisions=[{"names": {}}, {"iso_code": "43"}]), Region("UA", "UA-43", "EU")),
        (maxmind(subdivisions=[{"iso_code": "\x1b[2J"}, {"iso_code": "Kyiv"}]), UKRAINE),
        (maxmind(subdivisions=[{"iso_code": "43"}, {"iso_code": "43"}]), Region("UA", "UA-43", "EU")),
        (maxmind(subdivisions=[{"iso_code": code} for code in "ABC"]), Region("UA", "UA-A", "EU", "UA-B")),
        (maxmind(subdivisions=None), UKRAINE),
        (maxmind(subdivisions=[]), UKRAINE),
        (maxmind(subdivisions=[{"names": {"en": "Kyiv"}}]), UKRAINE),
        (maxmind(subdivisions=[{"iso_code": "UA-43"}]), Region("UA", "UA-43", "EU")),
        (maxmind(country=None, subdivisions=None), UKRAINE),
        (maxmind(country={"names": {}}, registered_country={"iso_code": "PL"}), Region("PL", "", "EU")),
        (maxmind(registered_country={"iso_code": "RU"}), Region("UA", "UA-30", "EU")),
        (maxmind(country=None, registered_country=None, subdivisions=None), Region("", "", "EU")),
        ({"represented_country": {"iso_code": "US"}}, UNKNOWN),
        ({"continent": {"code": "AS"}}, Region("", "", "AS")),
        # IPinfo, old and new
        ({"country": "UA", "country_name": "Ukraine", "continent": "EU", "continent_name": "Europe"}, UKRAINE),
        ({"country": "Ukraine", "country_code": "UA", "continent": "Europe", "continent_code": "EU"}, UKRAINE),
        ({"country": "", "continent": "AS"}, Region("", "", "AS")),
        ({"continent": "Asia", "continent_code": "AS"}, Region("", "", "AS")),
        ({"country_code": "UA", "region": "Crimea", "region_code": "43"}, Region("UA", "UA-43", "EU")),
        ({"country": "UA", "region": "43", "region_name": "Crimea"}, Region("UA", "UA-43", "EU")),
        ({"country": "UA", "region": "Crimea"}, UKRAINE),
        ({"country": "UA", "region": "Crimea", "region_code": ""}, UKRAINE),
        ({"country": "UA", "region": "Crimea", "region_name": "Crimea"}, UKRAINE),
        # flat
        ({"country_code": "UA"}, UKRAINE),
        ({"country_code": "UA", "state1": "Kyiv City", "city": "Kyiv"}, UKRAINE),
        # the continent is from our own table, whatever the database says
        (maxmind(continent={"code": "AS"}, subdivisions=None), UKRAINE),
        ({"country_code": "UA", "continent_code": "AS"}, UKRAINE),
        ({"country_code": "XK"}, Region("XK", "", "EU")),
        # nothing known
        ({}, UNKNOWN),
        ({"asn": 64496}, UNKNOWN),
        ("a string", UNKNOWN),
        (["UA"], UNKNOWN),
        ({"continent": {"code": "XX"}}, UNKNOWN),
        ({"continent": {}}, UNKNOWN),
    ],
)
def test_regions_of_every_schema(record: object, region: Region) -> None:
    """Each vendor's record gives its region, without a warning."""
    assert read(record) == ([region], set())


@pytest.mark.parametrize(
    "broken",
    [
        {"continent": 5},
        {"continent": {"code": 5}},
        {"registered_country": [1]},
        {"registered_country": {"iso_code": b"PL"}},
        {"continent_code": 7},
        {"region_name": 5},
    ],
)
def test_what_does_not_decide_may_be_anything(broken: dict[str, Any]) -> None:
    """With a country, the record's continent and country of registration are not used and may be broken."""
    assert read(maxmind(**broken)) == ([Region("UA", "UA-30", "EU")], set())
    with pytest.raises(DataError):
        read({**broken, "country": 5})


def test_every_country_is_known_in_every_schema() -> None:
    """All codes of the table are countries, on the continent of the table, however they are written."""
    for code, country in COUNTRIES.items():
        records = [{"country_code": code}, {"country": code}, {"country": {"iso_code": code}}]
        assert read(*records) == ([Region(code, "", country.continent)] * 3, set())
        assert country.continent in CONTINENTS


@pytest.mark.parametrize("code", sorted(UNKNOWN_CODES))
def test_codes_that_stand_for_no_country(code: str) -> None:
    """Codes for "no country" are unknown without a warning, and a continent is kept."""
    records = [{"country_code": code}, {"country": {"iso_code": code}}, {"country_code": code, "continent_code": "AS"}]
    assert read(*records) == ([UNKNOWN, UNKNOWN, Region("", "", "AS")], set())


def test_other_codes_are_unknown_and_collected() -> None:
    """A code that is no country is unknown and is reported once, however many records have it."""
    records = [{"country_code": "QQ"}, {"country": {"iso_code": "QQ"}}, {"country": "Atlantis"}, {"country_code": "us"}]
    assert read(*records) == ([UNKNOWN] * 4, {"QQ", "Atlantis", "us"})


@pytest.mark.parametrize(
    "record",
    [
        {"country_code": 5},
        {"country_code": {"iso_code": "UA"}},
        {"country": 5},
        {"country": ["UA"]},
        {"country": {"iso_code": 5}},
        {"country": {b"\xff": 1}},
        {"registered_country": [1]},
        {"registered_country": {"iso_code": b"UA"}},
        {"country": {"iso_code": "UA"}, "subdivisions": ["43"]},
        {"country": {"iso_code": "UA"}, "subdivisions": [{"iso_code": 43}]},
        {"country": {"iso_code": "UA"}, "subdivisions": {"iso_code": "43"}},
        {"country": {"iso_code": "UA"}, "subdivisions": True},
    ],
)
def test_records_of_other_types_are_damage(record: object) -> None:
    """A known field with an unknown type is refused, not read as an unknown region."""
    with pytest.raises(DataError, match=r"^x\.mmdb: damaged database: (a|the) record"):
        read(record)


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_no_map_beside_countries_is_damage(order: int) -> None:
    """A record that is no map, among maps, is damage: a broken pointer may lead to a string or a number."""
    with pytest.raises(DataError, match=r"^x\.mmdb: damaged database: the record at byte \d+ is not a map"):
        read(*[{"country_code": "UA"}, "UA"][::order])


def test_strange_codes_are_fit_for_a_terminal() -> None:
    """Control characters are escaped in messages, and long texts and long lists are shortened."""
    assert strange_codes({"QQ", "\x1b[2J", "ÜÜ"}) == r"'\x1b[2J', '\xdc\xdc', QQ"
    assert len(strange_codes({"x" * 10_000})) == 40
    assert strange_codes(f"Q{number:02}" for number in range(25)).endswith("Q09 and 15 more")


def test_plain_values_can_be_written_as_json() -> None:
    """Values that JSON cannot hold are replaced; all others are unchanged."""
    record = {"a": [b"\x01\xff", math.nan, math.inf, 2**128 - 1], "b": {"c": True, "d": "é", "e": 1.5}}
    expected = {"a": ["01ff", None, None, 2**128 - 1], "b": {"c": True, "d": "é", "e": 1.5}}
    assert plain(record) == expected
    assert json.loads(json.dumps(plain(record), allow_nan=False)) == expected
