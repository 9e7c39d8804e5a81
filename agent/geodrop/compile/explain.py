# SPDX-License-Identifier: Apache-2.0
"""`explain` with policy and databases: the ruleset's answer, with region and record from the databases."""

from __future__ import annotations

import dataclasses
from collections import deque
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import numpy as np

from geodrop.geo.partition import DTYPE, Partition, combine
from geodrop.ruleset.explain import explain, in_many_buckets
from geodrop.ruleset.question import parse, pieces
from geodrop.ruleset.region_parts import LEFT_OUT, RegionPart, chosen, count, part_key
from geodrop.ruleset.region_question import parse_region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.geo.world import Location, RegionMap
    from geodrop.ruleset.explain import Address, Explanation
    from geodrop.ruleset.model import Ruleset
    from geodrop.ruleset.question import Piece, Question
    from geodrop.ruleset.region_question import RegionQuestion


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


class DatabaseAnswers:
    """Answers questions from a ruleset and the databases that it was compiled from."""

    def __init__(self, ruleset: Ruleset, region_map: RegionMap) -> None:
        self._ruleset, self._region_map = ruleset, region_map
        self._parts: list[RegionPart] = []

    def explained(self, text: str, now: float) -> list[dict[str, Any]]:
        """Return the objects of `explain --json` for a question. Raises DataError if `text` is no question."""
        asked, found = self._pieces(text)
        return [
            {
                **(said.of_many() if in_many_buckets(asked, said) else said).as_json(self._ruleset, asked, piece),
                "record": record,
            }
            for piece in found
            for said, record in explain_with_databases(self._ruleset, self._region_map, piece.address, now)
        ]

    def _pieces(self, text: str) -> tuple[Question | RegionQuestion, list[Piece]]:
        if region := parse_region(text, self._ruleset.meta):
            self._parts = self._parts or parts_by_region(self._ruleset, self._region_map)
            return chosen(self._ruleset, self._parts, region)
        asked = parse(text)
        return asked, pieces(self._ruleset, asked)


def parts_by_region(ruleset: Ruleset, region_map: RegionMap) -> list[RegionPart]:
    """Count all addresses, each in the region that the databases say, after corrections."""
    parts: list[RegionPart] = []
    numbers: dict[tuple[bytes, int], int] = {}
    for family in (4, 6):
        zones = np.frombuffer(ruleset.sections[f"ipv{family}/zones"], "<u2").astype(np.int32)
        own = Partition(family, np.frombuffer(ruleset.sections[f"ipv{family}/starts"], DTYPE[family]), zones)
        starts, zone, region = combine(own, region_map.ipv4 if family == 4 else region_map.ipv6)
        keys = []
        known: dict[tuple[int, int], int] = {}
        for pair in zip(zone.tolist(), region.tolist(), strict=True):
            if pair not in known:
                known[pair] = _number(ruleset, region_map, parts, numbers, pair)
            keys.append(known[pair])
        deque(count(parts, family, keys, memoryview(starts.tobytes())), maxlen=0)
    return parts


def _number(
    ruleset: Ruleset,
    region_map: RegionMap,
    parts: list[RegionPart],
    numbers: dict[tuple[bytes, int], int],
    pair: tuple[int, int],
) -> int:
    """Return the number of the part that a zone and a region belong to; it is added if it is new."""
    zone, region = pair
    rows, counts = part_key(ruleset, zone)
    if not counts or region < 0:
        return LEFT_OUT
    if (rows, region) not in numbers:
        numbers[rows, region] = len(parts)
        parts.append(RegionPart(zone, region_map.regions[region]))
    return numbers[rows, region]
