# SPDX-License-Identifier: Apache-2.0
import re
from collections import Counter

from geodrop.policy.countries import COUNTRIES
from geodrop.policy.territories import DEPENDENT, TERRITORIES, slug

NOT_INDEPENDENT = """
AI AQ AS AW AX BL BM BQ BV CC CK CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO MP MQ MS NC NF NU PF PM PN
PR PS RE SH SJ SX TC TF TK TW UM VG VI WF YT
"""
"""The entries of ISO 3166-1 whose status "independent" is no."""

OF_NO_COUNTRY = {"AQ", "EH", "PS", "TW"}


def test_every_dependent_territory_is_there_once_and_all_are_countries_of_ours() -> None:
    """The table has each dependent territory once, and neither a country without a code nor a territory of its own."""
    found = Counter(code for codes in DEPENDENT.values() for code in codes)
    assert set(found) == set(NOT_INDEPENDENT.split()) - OF_NO_COUNTRY
    assert set(found.values()) == {1}
    assert found.keys() | DEPENDENT.keys() <= COUNTRIES.keys()
    assert not found.keys() & DEPENDENT.keys()


def test_names_are_words_and_codes_are_those_of_one_country() -> None:
    """A policy can write each name; a dependent territory has its code first, a disputed one the code of ISO 3166-2."""
    for name, territory in TERRITORIES.items():
        assert name == territory.name
        assert re.fullmatch("[a-z]+(-[a-z]+)*", name)
        for first, *others in territory.parts:
            assert first in DEPENDENT.get(territory.country, ()) or first.startswith(f"{territory.country}-")
            assert all(re.fullmatch("[A-Z]{2}-[A-Z]{2,3}", other) for other in others)
        assert territory.parts or territory.note


def test_crimea_is_the_peninsula() -> None:
    """ISO 3166-2 has Sevastopol beside Crimea; who excludes Crimea means both."""
    assert [part[0] for part in TERRITORIES["crimea"].parts] == ["UA-43", "UA-40"]


def test_slugs() -> None:
    """Names of countries become words: without accents, and without what is in brackets."""
    names = "Saint Barthélemy", "Sint Maarten (Dutch part)", "Åland Islands", "Côte d'Ivoire"
    assert [slug(name) for name in names] == ["saint-barthelemy", "sint-maarten", "aland-islands", "cote-d-ivoire"]
