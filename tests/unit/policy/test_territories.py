from collections import Counter

from geodrop.policy.countries import COUNTRIES
from geodrop.policy.territories import TERRITORIES

NOT_INDEPENDENT = """
AI AQ AS AW AX BL BM BQ BV CC CK CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO MP MQ MS NC NF NU PF PM PN
PR PS RE SH SJ SX TC TF TK TW UM VG VI WF YT
"""
"""The entries of ISO 3166-1 whose status "independent" is no."""

OF_NO_COUNTRY = {"AQ", "EH", "PS", "TW"}


def test_every_territory_is_there_once_and_all_are_countries_of_ours() -> None:
    """The table has each dependent territory once, and neither a country without a code nor a territory of its own."""
    found = Counter(code for codes in TERRITORIES.values() for code in codes)
    assert set(found) == set(NOT_INDEPENDENT.split()) - OF_NO_COUNTRY
    assert set(found.values()) == {1}
    assert found.keys() | TERRITORIES.keys() <= COUNTRIES.keys()
    assert not found.keys() & TERRITORIES.keys()
