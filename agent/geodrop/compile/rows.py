# SPDX-License-Identifier: Apache-2.0
"""Build rows: what each zone means for each service, by the ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geodrop.compile.zones import NO_REGION, NONE, ZoneKey
from geodrop.document.problems import Position, Problem
from geodrop.errors import PolicyError
from geodrop.geo.world import EMBEDDINGS, SPECIAL
from geodrop.policy.countries import UNKNOWN as UNKNOWN_REGION
from geodrop.policy.model import Rung, Verdict
from geodrop.ruleset.model import MAX_CLASSES, NO_CLASS, Row, Zone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.compile.zones import Zones
    from geodrop.policy.ladder import Decision, Ladder
    from geodrop.policy.model import Policy


class Rows(NamedTuple):
    """The rows of a ruleset.

    `wire[zone][service]` and `embedded[zone][service]` are indices into `distinct`; `classes` are the counters' labels.
    """

    distinct: tuple[Row, ...]
    wire: list[list[int]]
    embedded: list[list[int]]
    classes: tuple[str, ...]
    zones: tuple[Zone, ...]


def build_rows(policy: Policy, ladders: Sequence[Ladder], zones: Zones) -> Rows:
    """Judge every zone for every service. Raises PolicyError if there are too many counter classes."""
    labels = {label for ladder in ladders for label in (*ladder.labels, *map(label_of, ladder.drawn))}
    classes = sorted(labels | {str(region) for region in zones.regions} | {str(UNKNOWN_REGION)})
    if len(classes) > MAX_CLASSES:
        message = (
            f"{len(classes):,} regions, lists and prefixes would be counted apart, {MAX_CLASSES:,} is the most; "
            "move prefixes from `allow` and `deny` into a list"
        )
        raise PolicyError([Problem(Position(policy.file, 1, 1), message)])
    judge = _Judge(policy, ladders, zones, {label: number for number, label in enumerate(classes)})
    numbers: dict[Row, int] = {}
    wire, embedded = [], []
    for key in zones.keys:
        services = range(len(ladders))
        wire.append([numbers.setdefault(judge.wire(key, service), len(numbers)) for service in services])
        embedded.append([numbers.setdefault(judge.embedded(key, service), len(numbers)) for service in services])
    described = tuple(_describe(policy, zones, key) for key in zones.keys)
    return Rows(tuple(numbers), wire, embedded, tuple(classes), described)


def label_of(name: str) -> str:
    """Return the counter class of a list."""
    return f"list:{name}"


class _Judge(NamedTuple):
    policy: Policy
    ladders: Sequence[Ladder]
    zones: Zones
    classes: Mapping[str, int]

    def wire(self, key: ZoneKey, service: int) -> Row:
        """Return the row for an address as it is in the packet."""
        if key.never_drop != NONE:
            prefix = self.policy.never_drop.prefixes[key.never_drop]
            at = self.policy.never_drop.at.get(prefix, 0)
            return Row(Verdict.ACCEPT, Rung.NEVER_DROP, f"never_drop: {prefix}", at=at)
        decided = key.winners[service] != NONE or self.ladders[service].decide_drawn(key.lists)
        if key.region == SPECIAL and not decided:
            return Row(Verdict.ACCEPT, Rung.SPECIAL, "special")
        return self.embedded(key, service)

    def embedded(self, key: ZoneKey, service: int) -> Row:
        """Return the row for an IPv4 address embedded in IPv6: never-drop does not apply, special is unknown."""
        ladder = self.ladders[service]
        if key.winners[service] != NONE:
            label, decision = list(ladder.labels.items())[key.winners[service]]
            return self._row(decision, label)
        if drawn := ladder.decide_drawn(key.lists):
            name, decision = drawn
            return self._row(decision, label_of(name))
        if key.region in EMBEDDINGS:
            return Row("embedded", "", "")
        region = UNKNOWN_REGION if key.region == SPECIAL else self.zones.regions[key.region]
        return self._row(ladder.decide(region), str(region))

    def _row(self, decision: Decision, label: str) -> Row:
        return Row(decision.verdict, decision.rung, decision.line, self.classes.get(label, NO_CLASS), decision.at)


def _describe(policy: Policy, zones: Zones, key: ZoneKey) -> Zone:
    never_drop = None if key.never_drop == NONE else str(policy.never_drop.prefixes[key.never_drop])
    if key.region in EMBEDDINGS:
        return Zone(embedding=EMBEDDINGS[key.region], never_drop=never_drop)
    region = str(zones.regions[key.region]) if key.region not in (SPECIAL, NO_REGION) else None
    return Zone(region=region, special=key.region == SPECIAL, never_drop=never_drop)
