# SPDX-License-Identifier: Apache-2.0
"""What a policy names and no loaded database has, so that it would never match, and the operator would not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.compile.sizes import size_where
from geodrop.document.problems import Problem
from geodrop.policy.atlas import ATLAS, KINDS, members
from geodrop.policy.model import LineKind
from geodrop.policy.territories import TERRITORIES
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.geo.world import RegionMap
    from geodrop.policy.model import Line, Policy
    from geodrop.policy.territories import Territory


def uncarried(policy: Policy, region_map: RegionMap) -> list[Problem]:
    """Return an error for each subdivision and territory that the databases do not tell apart, or have nothing of."""
    carried = _Carried(region_map)
    problems = []
    for line in _lines(policy):
        if line.kind is LineKind.SUBDIVISION and line.name not in carried.subdivisions:
            message = (
                f"{line.name}: no loaded database carries this subdivision; "
                "add a database of cities that does, or name the country"
            )
            problems.append(Problem(line.place, message, source=policy.source(line.place)))
        for name in ATLAS[line.text].territories if line.kind in KINDS else ():
            if objection := carried.objection(TERRITORIES[name]):
                inside = "" if line.kind is LineKind.TERRITORY else f" (territory:{name})"
                message = f"{line.text}{inside}: {objection}"
                problems.append(Problem(line.place, message, source=policy.source(line.place)))
    return problems


def absent(policy: Policy, region_map: RegionMap) -> set[Problem]:
    """Return a warning for each line with a country of which no database has an address.

    Clients from there count as `unknown`: if an allow list names the country and the database has lost it, they are
    dropped.
    """
    known = {region.country for region in region_map.regions}
    found = set()
    for line in _lines(policy):
        named = [*members(line)] if line.kind is LineKind.ATLAS else [line]
        lost = [one.name for one in named if one.kind is LineKind.COUNTRY and one.name not in known]
        if lost:
            of, whose = ("this country", "its") if line.kind is LineKind.COUNTRY else ("these countries", "their")
            message = (
                f"{'' if line.kind is LineKind.COUNTRY else f'{line.text}: '}{', '.join(lost)}: no loaded database has "
                f"an address of {of}, so {whose} clients count as unknown; check whether the database is complete"
            )
            found.add(Problem(line.place, message, "warning", policy.source(line.place)))
    return found


class _Carried:
    """What the databases together tell apart."""

    def __init__(self, region_map: RegionMap) -> None:
        self._map = region_map
        self.subdivisions = {code for region in region_map.regions for code in region.subdivisions}
        self._codes = self.subdivisions | {region.country for region in region_map.regions}

    def objection(self, territory: Territory) -> str | None:
        """Return why a territory cannot be judged, and what to do; None if it can."""
        missing = [part for part in territory.parts if not self._codes & {*part}]
        country = territory.country
        if any("-" not in part[0] for part in territory.parts):
            if not missing:
                return None
            codes = " or ".join(missing[0])
            return f"no loaded database has an address of it ({codes}); take a complete database, or leave it out"
        if country in self._map.undivided:
            coarse, fine = map(harmless, self._map.undivided[country])
            return f"{coarse} has no subdivision of {country}, and is asked before {fine}, which has; put {fine} first"
        if not missing:
            return None
        whole = size_where(self._map, lambda region: region.country == country)
        known = f"{whole.ipv4:,} IPv4 addresses and {whole.ipv6_48s:,} IPv6 /48s of {country}"
        if not any(code.startswith(f"{country}-") for code in self.subdivisions):
            return f"no loaded database tells it apart: none of {known} has a subdivision; add a database of cities"
        codes = " and none ".join(" or ".join(part) for part in missing)
        return f"of {known} in the loaded databases, none is {codes}; take a complete database of cities"


def _lines(policy: Policy) -> Iterator[Line]:
    for service in policy.services:
        yield from service.allow
        yield from service.deny
    for group in policy.groups.values():
        yield from group
