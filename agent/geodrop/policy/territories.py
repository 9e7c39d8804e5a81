# SPDX-License-Identifier: Apache-2.0
"""Territories by name: parts of the world that do not have the code of the country that they are counted to.

There are two kinds. Dependent territories have country codes of their own: a line `US` does not hold Puerto Rico, since
databases give its addresses the country PR. Territories that countries are in dispute about have, at most, the codes of
subdivisions.

Source of the dependent ones: ISO 3166-1, the entries whose status "independent" is no. The country is the one that the
entry's remarks name, or that has a code of ISO 3166-2 for the same territory (US-PR, FR-GF, CN-HK). AQ, EH, PS and TW
are left out, since these remarks give them to no country. Where most people live comes first.

Source of the disputed ones: ISO 3166-2, for the country that ISO counts them to. Codes such as RU-CR are in no
standard. They are what software that counts these addresses to RU is known to use.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.policy.countries import COUNTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AS_OF = "2026-09-18"
"""The codes are those of this day: GeoLite2 City of this day has the first code of each part."""
SOURCE = "ISO 3166-1 and ISO 3166-2, and for codes of RU no standard"


@dataclass(frozen=True, slots=True)
class Territory:
    """A territory, such as `crimea`; `title` is for people, `country` is the one that ISO 3166 counts it to.

    Each of `parts` has the codes that databases use for it, ISO's first: an address with any of them is in it. No part
    means that no database tells the territory apart. `note` says what databases do not tell.
    """

    name: str
    title: str
    country: str
    parts: tuple[tuple[str, ...], ...]
    note: str = ""


DEPENDENT: Mapping[str, tuple[str, ...]] = {
    "AU": ("NF", "CX", "CC", "HM"),
    "CN": ("HK", "MO"),
    "DK": ("GL", "FO"),
    "FI": ("AX",),
    "FR": ("RE", "GP", "MQ", "YT", "GF", "PF", "NC", "MF", "WF", "BL", "PM", "TF"),
    "GB": ("JE", "IM", "KY", "GG", "BM", "TC", "VG", "GI", "AI", "SH", "MS", "FK", "IO", "PN", "GS"),
    "NL": ("CW", "AW", "SX", "BQ"),
    "NO": ("SJ", "BV"),
    "NZ": ("CK", "NU", "TK"),
    "US": ("PR", "GU", "VI", "AS", "MP", "UM"),
}
"""Dependent territories with country codes of their own, by the country that they belong to."""

_WHOLE = "the whole oblast: no database tells apart which part of it is occupied"

_DISPUTED = (
    Territory("crimea", "Crimea, with Sevastopol", "UA", (("UA-43", "RU-CR"), ("UA-40", "RU-SEV"))),
    Territory("sevastopol", "Sevastopol", "UA", (("UA-40", "RU-SEV"),)),
    Territory("donetsk", "Donetsk oblast", "UA", (("UA-14", "RU-DON"),), _WHOLE),
    Territory("luhansk", "Luhansk oblast", "UA", (("UA-09", "RU-LUG"),), _WHOLE),
    Territory("kherson", "Kherson oblast", "UA", (("UA-65", "RU-HR"),), _WHOLE),
    Territory("zaporizhzhia", "Zaporizhzhia oblast", "UA", (("UA-23", "RU-ZP"),), _WHOLE),
    Territory("abkhazia", "Abkhazia", "GE", (("GE-AB",),)),
    Territory("transnistria", "Transnistria, with Bender", "MD", (("MD-SN",), ("MD-BD",))),
    Territory(
        "north-cyprus",
        "Northern Cyprus",
        "CY",
        (),
        "it has no code, and the districts of Cyprus lie on both sides of the line, but for Kyrenia (CY-06)",
    ),
    Territory(
        "south-ossetia", "South Ossetia", "GE", (), "it has no code, and lies in regions of Georgia that go beyond it"
    ),
)


def slug(name: str) -> str:
    """Return the name of a country as a word of the policy: "Svalbard and Jan Mayen" is svalbard-and-jan-mayen."""
    plain = unicodedata.normalize("NFKD", re.sub(r" \(.*", "", name)).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z]+", "-", plain).strip("-")


def _dependent() -> Iterator[Territory]:
    for country, codes in DEPENDENT.items():
        for code in codes:
            name = COUNTRIES[code].name
            # Some databases have a territory as a subdivision, such as US-PR.
            yield Territory(slug(name), name, country, ((code, f"{country}-{code}"),))


TERRITORIES: Mapping[str, Territory] = {one.name: one for one in (*_DISPUTED, *_dependent())}
"""All territories by name."""
