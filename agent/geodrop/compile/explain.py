"""`explain` with policy and databases: the ruleset's answer, with region and record from the databases."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from geodrop.ruleset.explain import explain
from geodrop.ruleset.question import parse, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.geo.world import Location, RegionMap
    from geodrop.ruleset.explain import Address, Explanation
    from geodrop.ruleset.model import Ruleset


def explain_with_databases(
    ruleset: Ruleset, region_map: RegionMap, address: Address, now: float
) -> Iterator[tuple[Explanation, dict[str, Any] | None]]:
    """Yield explanations with the databases' own region, and the database record it came from (None: no record)."""
    places: dict[Address, Location] = {}  # every service asks for the same address, or for the one embedded in it
    for explanation in explain(ruleset, address, now):
        judged = IPv4Address(explanation.embedded) if explanation.embedded else address
        if judged not in places:
            places[judged] = region_map.locate(judged)
        place = places[judged]
        region = explanation.region if explanation.embedded and explanation.region == "unknown" else str(place.region)
        yield dataclasses.replace(explanation, region=region), place.record


def explained(ruleset: Ruleset, region_map: RegionMap, text: str, now: float) -> list[dict[str, Any]]:
    """Return the objects of `explain --json` for a question. Raises DataError if `text` is no question."""
    asked = parse(text)
    return [
        {**explanation.as_json(ruleset, asked, piece), "record": record}
        for piece in pieces(ruleset, asked)
        for explanation, record in explain_with_databases(ruleset, region_map, piece.address, now)
    ]
