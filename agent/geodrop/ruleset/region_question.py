# SPDX-License-Identifier: Apache-2.0
"""What `explain` can be asked about besides addresses: a region, a group of the policy, or `unknown`."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import DataError
from geodrop.policy.atlas import ATLAS
from geodrop.policy.countries import CONTINENTS, COUNTRIES, UNKNOWN, Region, country_region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.policy.atlas import Known
    from geodrop.ruleset.model import Meta

FORMS = "a country (CN), a subdivision (UA-43), continent:AS, territory:NAME, atlas:NAME, group:NAME or unknown"

_SUBDIVISION = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}")
_REGION = re.compile(r"[^\W\d_][^:/]*|[^\W\d_]+:[^:/]*")
"""Texts that are meant as a region: they begin with a letter, and have no colons as IPv6 has."""


@dataclass(frozen=True, slots=True)
class RegionQuestion:
    """What was asked about: the `text` as given, its `kind`, and the `members` that its addresses are in.

    `kind` is country, subdivision, continent, group or unknown. A territory is a country or subdivision, by its codes,
    and a group of the atlas is one. A member is a country, a subdivision, `continent:AS` or `unknown`; of a group also
    a list (`list:NAME`) or a prefix.

    `subject` names what is counted. It is another region than the one asked for if the policy does not tell that one
    apart. `not_counted` is the number of IPv4 addresses whose regions are not known, since prefix lines decide.
    Of each of `apart` one subdivision must be known: an answer about Crimea without Sevastopol would be none.
    """

    text: str
    kind: str
    subject: str
    members: frozenset[str]
    not_counted: int = 0
    apart: tuple[tuple[str, ...], ...] = ()

    single = False

    def holds(self, region: Region) -> bool:
        """Return whether the addresses of a region belong to what was asked about."""
        if region == UNKNOWN:
            return "unknown" in self.members
        names = (region.country, *region.subdivisions, f"continent:{region.continent}")
        return any(name in self.members for name in names)


def meant_as_region(text: str) -> bool:
    """Return whether a text is meant as a region or group, rightly written or not, and not as an address."""
    return _REGION.fullmatch(text) is not None


def parse_region(text: str, meta: Meta) -> RegionQuestion | None:
    """Return the question that a text asks; None if it is not meant as a region, but as an address.

    Raises DataError for a name that is not known, with the nearest one.
    """
    if not meant_as_region(text):
        return None
    word, colon, name = text.partition(":")
    code = text.upper()
    if code in COUNTRIES:
        return RegionQuestion(text, "country", code, frozenset({code}))
    if (match := _SUBDIVISION.fullmatch(code)) and match[1] in COUNTRIES:
        return RegionQuestion(text, "subdivision", code, frozenset({code}))
    if colon and word == "continent" and name.upper() in CONTINENTS:
        subject = f"continent:{name.upper()}"
        return RegionQuestion(text, "continent", subject, frozenset({subject}))
    if colon and word == "group" and any(group.name == name for group in meta.groups):
        return RegionQuestion(text, "group", text, frozenset(_members(meta, name)))
    if (known := ATLAS.get(text)) and known.parts:
        return _of_atlas(known)
    if text == "unknown":
        return RegionQuestion(text, "unknown", text, frozenset({text}))
    raise DataError(f"{text!r} is neither an address nor a known region", _next_step(text, meta))


def _of_atlas(known: Known) -> RegionQuestion:
    apart = tuple(part for part in known.parts if all("-" in code for code in part))
    kind = "group" if not known.country else "subdivision" if apart else "country"
    return RegionQuestion(known.text, kind, known.text, frozenset(known.codes), apart=apart)


def region_named(name: str) -> Region:
    """Return the region with a name such as CN, UA-43, continent:AS or unknown."""
    if name.startswith("continent:"):
        return Region(continent=name.removeprefix("continent:"))
    country, dash, _ = name.partition("-")
    region = country_region(country)
    return Region(country, name, region.continent) if dash else region


def _members(meta: Meta, name: str) -> Iterator[str]:
    """Yield what a group holds, with the groups inside it opened, each once."""
    groups = {group.name: group.members for group in meta.groups}
    opened = {name}
    waiting = [name]
    while waiting:
        for member in groups.get(waiting.pop(), ()):
            inner = member.removeprefix("group:")
            if inner == member:
                yield member
            elif inner not in opened:
                opened.add(inner)
                waiting.append(inner)


def _next_step(text: str, meta: Meta) -> str:
    if text.startswith("list:"):
        return "ask about a prefix of the list; geodrop counters shows what was dropped by it"
    names = {country.name.lower(): code for code, country in COUNTRIES.items()}
    names |= {name.lower(): f"continent:{code}" for code, name in CONTINENTS.items()}
    names |= {text.partition(":")[2]: text for text, known in ATLAS.items() if known.parts}
    names |= {group.name: f"group:{group.name}" for group in meta.groups}
    names |= {name.lower(): name for name in ("unknown", *names.values())}
    near = difflib.get_close_matches(text.lower(), names, 1)
    return f"write {names[near[0]]}" if near else f"write {FORMS}, or an address"
