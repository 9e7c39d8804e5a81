# SPDX-License-Identifier: Apache-2.0
"""The atlas: what a policy can name without writing it out, territories and groups that people mean.

`territory:crimea` and `atlas:eu` have words of their own in a policy, so no `group:` of a policy can have their names.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.policy.countries import COUNTRIES
from geodrop.policy.model import Line, LineKind
from geodrop.policy.territories import AS_OF, SOURCE, TERRITORIES, slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from geodrop.document.problems import Position


@dataclass(frozen=True, slots=True)
class Known:
    """An entry of the atlas, as a policy writes it: `text` is `territory:NAME` or `atlas:NAME`, `title` is for people.

    `parts` are as in `Territory`. `territories` are the names of those in it. `country` is that of a territory, "" for
    a group. `as_of` is the day whose state it has, and `source` says whose state.
    """

    text: str
    title: str
    parts: tuple[tuple[str, ...], ...]
    territories: tuple[str, ...]
    country: str
    note: str
    as_of: str
    source: str

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code that an address in it may have: of countries and of subdivisions."""
        return tuple(dict.fromkeys(code for part in self.parts for code in part))


_EU = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
_EU_BEYOND = "AX GF GP MF MQ RE YT"

_GROUPS = (
    (
        "eu",
        "European Union, with Åland and the outermost regions of France",
        f"{_EU} {_EU_BEYOND}",
        "2020-02-01",
        "Treaty on European Union, Article 52; Treaty on the Functioning of the European Union, Article 355",
    ),
    (
        "eea",
        "European Economic Area: the European Union, Iceland, Liechtenstein and Norway",
        f"{_EU} {_EU_BEYOND} IS LI NO",
        "2020-02-01",
        "Agreement on the European Economic Area, Article 126",
    ),
    ("five-eyes", "Five Eyes", "AU CA GB NZ US", "2010-06-25", "UKUSA agreement, as published on this day"),
    ("g7", "Group of Seven, the countries", "CA DE FR GB IT JP US", "2014-03-24", "The Hague Declaration"),
    (
        "ofac-comprehensive",
        "under comprehensive sanctions of the United States",
        "CU IR KP territory:crimea territory:donetsk territory:luhansk",
        "2025-07-01",
        "31 CFR parts 510, 515 and 560; Executive Orders 13685 and 14065; Syria left by Executive Order 14312",
    ),
)


def _atlas() -> Iterator[Known]:
    for one in TERRITORIES.values():
        text = f"territory:{one.name}"
        yield Known(text, one.title, one.parts, (one.name,), one.country, one.note, AS_OF, SOURCE)
    for name, title, members, as_of, source in _GROUPS:
        parts: list[tuple[str, ...]] = []
        names = []
        for member in members.split():
            if member.startswith("territory:"):
                names.append(member.removeprefix("territory:"))
                parts += TERRITORIES[names[-1]].parts
            else:
                parts.append((member,))
        yield Known(f"atlas:{name}", title, tuple(parts), tuple(names), "", "", as_of, source)


ATLAS: Mapping[str, Known] = {one.text: one for one in _atlas()}
"""Every entry by its text, territories first."""

KINDS = frozenset({LineKind.TERRITORY, LineKind.ATLAS})
"""The lines that name an entry of the atlas."""


def members(line: Line) -> Iterator[Line]:
    """Yield what a line of the atlas stands for, as lines with a code each, at the same place."""
    for code in ATLAS[line.text].codes:
        yield code_line(code, line.place)


def code_line(code: str, place: Position) -> Line:
    """Return the line that names the code of a country or of a subdivision."""
    return Line(LineKind.SUBDIVISION if "-" in code else LineKind.COUNTRY, code, code, place)


def nearest(text: str) -> str:
    """Return what to write in place of `text`, which the atlas does not have, or where to look."""
    word, _, name = text.rpartition(":")
    by_name = {slug(country.name): code for code, country in COUNTRIES.items()}
    other = f"{'atlas' if word == 'territory' else 'territory'}:{name}"
    if other in ATLAS:
        return f"write {other}"
    if name.upper() in COUNTRIES or name in by_name:
        return f"write {by_name.get(name, name.upper())}"
    names = {one.partition(":")[2]: one for one in ATLAS}
    near = difflib.get_close_matches(name[:64], names, n=1)
    return f"write {names[near[0]]}" if near else "geodrop regions  lists the names"
