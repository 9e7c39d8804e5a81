# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from geodrop.policy.countries import CONTINENTS, COUNTRIES, UNKNOWN, UNKNOWN_CODES, Region, country_region

ISO3166 = Path("/usr/share/zoneinfo/iso3166.tab")


def test_every_country_of_iso_3166_is_there() -> None:
    """249 codes and XK, each on one of the seven continents, none of them a code for unknown."""
    assert len(COUNTRIES) == 250
    assert {country.continent for country in COUNTRIES.values()} == set(CONTINENTS)
    assert not set(COUNTRIES) & UNKNOWN_CODES


@pytest.mark.skipif(not ISO3166.exists(), reason="this machine has no tzdata to compare with")
def test_codes_agree_with_tzdata() -> None:
    """The codes agree with a second source, tzdata."""
    lines = ISO3166.read_text().splitlines()
    assert {line.split("\t")[0] for line in lines if not line.startswith("#")} | {"XK"} == set(COUNTRIES)


@pytest.mark.parametrize(
    ("code", "continent"),
    [
        ("NO", "EU"),
        ("RU", "EU"),
        ("CY", "EU"),
        ("XK", "EU"),
        ("TR", "AS"),
        ("KZ", "AS"),
        ("GE", "AS"),
        ("EG", "AF"),
        ("NA", "AF"),
        ("AS", "OC"),
        ("TL", "OC"),
        ("GL", "NA"),
        ("GF", "SA"),
        ("AQ", "AN"),
    ],
)
def test_continents_are_those_of_geonames(code: str, continent: str) -> None:
    """Countries that sources disagree on, and country codes that are also continent codes, have these continents."""
    assert country_region(code) == Region(country=code, continent=continent)


@pytest.mark.parametrize("code", ["", "ZZ", "EU", "UK", "no", "XX"])
def test_other_codes_are_unknown(code: str) -> None:
    """A code that is no country gives no region, so only `unknown:` judges it."""
    assert country_region(code) is UNKNOWN


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (Region("UA", "UA-43", "EU"), "UA-43"),
        (Region("UA", "", "EU"), "UA"),
        (Region(continent="EU"), "continent:EU"),
        (Region(), "unknown"),
    ],
)
def test_region_as_text(region: Region, text: str) -> None:
    """A region is written as a line of a policy would name it."""
    assert str(region) == text


LONDON = Region("GB", "GB-ENG", "EU", "GB-LND")


def test_subdivisions_from_the_outer_one_on() -> None:
    """A region may lie in two known subdivisions, in one or in none."""
    assert LONDON.subdivisions == ("GB-ENG", "GB-LND")
    assert Region("UA", "UA-43", "EU").subdivisions == ("UA-43",)
    assert Region("UA", "", "EU").subdivisions == ()


@pytest.mark.parametrize(
    ("named", "reduced"),
    [
        ({"GB-ENG", "GB-LND"}, LONDON),
        ({"GB-ENG"}, Region("GB", "GB-ENG", "EU")),
        ({"GB-LND", "UA-43"}, Region("GB", "GB-LND", "EU")),
        ({"GB-SCT"}, Region("GB", "", "EU")),
        (set(), Region("GB", "", "EU")),
    ],
)
def test_reduced_to_what_a_policy_names(named: set[str], reduced: Region) -> None:
    """Only named subdivisions stay; country and continent always stay."""
    assert LONDON.reduced(named) == reduced
