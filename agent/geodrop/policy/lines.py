# SPDX-License-Identifier: Apache-2.0
"""Parse a line of `allow`, `deny` or a group; the error for a bad line says what to write instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from geodrop.document.problems import shown
from geodrop.document.shape import UnreadableError
from geodrop.policy import atlas
from geodrop.policy.countries import CONTINENTS, COUNTRIES, UNKNOWN_CODES
from geodrop.policy.model import Line, LineKind
from geodrop.policy.values import parse_name, parse_prefix

if TYPE_CHECKING:
    from geodrop.document.problems import Position

FORMS = (
    "a country (CN), a subdivision (UA-43), continent:AS, territory:NAME, atlas:NAME, group:NAME, list:NAME, a prefix "
    "or an address"
)

_COUNTRY = re.compile(r"[A-Z0-9]{2}")
_SUBDIVISION = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}")

# Codes that are often written for a country, and the ISO 3166-1 code that is meant.
OTHER_CODES = {
    "UK": "GB",
    "EL": "GR",
    "KO": "KR",
    "SU": "RU",
    "TP": "TL",
    "YU": "RS",
    "CS": "RS",
    "ZR": "CD",
    "BU": "MM",
}


def parse_line(text: str, place: Position) -> Line:
    """Parse the text of a line. Raises UnreadableError. `check` checks whether a named group or list exists."""
    word, colon, rest = text.partition(":")
    if colon and word in ("group", "list"):
        return Line(LineKind(word), text, parse_name(rest), place)
    if colon and word == "continent":
        return Line(LineKind.CONTINENT, text, parse_continent(rest), place)
    if colon and word in atlas.KINDS:
        return Line(LineKind(word), text, _parse_known(text), place)
    if _COUNTRY.fullmatch(text):
        return Line(LineKind.COUNTRY, text, parse_country(text), place)
    if match := _SUBDIVISION.fullmatch(text):
        parse_country(match[1])
        return Line(LineKind.SUBDIVISION, text, text, place)
    if "/" in text or ":" in text or re.match(r"[0-9]+\.", text):
        if word.lower() in ("group", "list", "continent", "country", "asn", *atlas.KINDS):
            raise UnreadableError(_meant(text))
        network = parse_prefix(text)
        return Line(LineKind.PREFIX, text, str(network), place, network)
    raise UnreadableError(_meant(text))


def parse_country(text: str) -> str:
    """Return a country's code. Raises UnreadableError."""
    if text in COUNTRIES:
        return text
    if text == "EU":
        raise UnreadableError(
            '"EU" is a pseudo-country; write continent:EU, or a group of the countries that are meant'
        )
    if text in UNKNOWN_CODES:
        raise UnreadableError(
            f"{shown(text)} is no country; what databases do not know has the verdict of  unknown: allow  or  deny"
        )
    raise UnreadableError(_meant(text, "is not a country of ISO 3166-1 (nor XK)", "write its code, such as US"))


def parse_continent(text: str) -> str:
    """Return a continent's code. Raises UnreadableError."""
    if text in CONTINENTS:
        return text
    by_name = {name.lower(): code for code, name in CONTINENTS.items()}
    close = text.upper() if text.upper() in CONTINENTS else by_name.get(text.lower())
    known = ", ".join(f"{code} ({name})" for code, name in CONTINENTS.items())
    raise UnreadableError(
        f"{shown(text)} is not a continent; write {f'continent:{close}' if close else f'one of {known}'}"
    )


def _parse_known(text: str) -> str:
    """Return the bare name of an entry of the atlas. Raises UnreadableError."""
    found = atlas.ATLAS.get(text)
    if found is None:
        raise UnreadableError(f"{shown(text)} is not in the atlas; {atlas.nearest(text)}")
    if not found.parts:
        raise UnreadableError(
            f"{shown(text)}: no database tells it apart: {found.note}; name {found.country}, or prefixes that you know"
        )
    return text.partition(":")[2]


def _meant(text: str, wrong: str = "names nothing", otherwise: str = f"write {FORMS}") -> str:
    """Return the message for a bad line, with what was probably meant."""
    stripped = text.strip()
    upper = stripped.upper()
    word, _, rest = (part.strip() for part in stripped.partition(":"))
    if upper in OTHER_CODES:
        better = f"write {OTHER_CODES[upper]} ({COUNTRIES[OTHER_CODES[upper]].name})"
    elif text != upper and (upper in COUNTRIES or _SUBDIVISION.fullmatch(upper)):
        better = f"write {upper}"
    elif code := _BY_NAME.get(stripped.casefold()):
        better = f"write {code}"
    elif word.lower() in ("group", "list", "continent", *atlas.KINDS) and rest:
        better = f"write {shown(f'{word.lower()}:{rest}')}"
    elif word.lower() == "country" and rest:
        better = f"write {shown(rest)}"
    elif re.fullmatch(r"(?i)asn?:? ?[0-9]+", stripped):
        number = re.sub("[^0-9]", "", stripped)
        better = f"write list:NAME, and under lists  NAME: {{asn: [{number}]}}"
    elif re.search(r"\s", stripped):
        better = "put a comma between two entries"
    elif re.fullmatch(r"[A-Z]{3}", upper):
        better = "codes of countries have two letters, such as US"
    else:
        better = otherwise
    return f"{shown(text)} {wrong}; {better}"


_BY_NAME = {country.name.casefold(): code for code, country in COUNTRIES.items()}
