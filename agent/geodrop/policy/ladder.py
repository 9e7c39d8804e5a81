# SPDX-License-Identifier: Apache-2.0
"""Turn a service's lines into lookup tables, one for each rung, with groups resolved and ties decided.

This is the only code that implements "deny beats allow". `compile` asks it once for each zone and service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING

from geodrop.policy.groups import open_groups
from geodrop.policy.model import LineKind, Network, Policy, Rung, Service, Verdict

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from geodrop.policy.countries import Region


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a rung: the verdict, and the line of the policy that gives it, as written there.

    `at` is the line's number in the file, from 1; it is ignored when decisions are compared.
    """

    verdict: Verdict
    rung: Rung
    line: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PrefixRule:
    """One prefix of rung 3. Its packets are counted under `label`, the prefix itself or `list:NAME`."""

    network: Network
    decision: Decision
    label: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs 3, 4 and 6 to 10 of one service.

    `prefixes` holds one rule for each distinct network, `labels` the decision of each label, sorted by label, so that a
    line keeps its index when it moves between allow and deny. `drawn` has the lists drawn from databases by name, those
    of deny first.
    """

    prefixes: tuple[PrefixRule, ...]
    labels: Mapping[str, Decision]
    drawn: Mapping[str, Decision]
    subdivisions: Mapping[str, Decision]
    countries: Mapping[str, Decision]
    continents: Mapping[str, Decision]
    unknown: Decision
    default: Decision

    def decide_drawn(self, lists: Container[str]) -> tuple[str, Decision] | None:
        """Judge an address by rung 4: return the list that decides, of those that hold the address, and its decision.

        None if no line of the service names one of them.
        """
        return next(((name, decision) for name, decision in self.drawn.items() if name in lists), None)

    def decide(self, region: Region) -> Decision:
        """Judge a region by rungs 6 to 10; the caller has handled prefixes, drawn lists and special addresses."""
        named = [self.subdivisions[code] for code in region.subdivisions if code in self.subdivisions]
        if named:
            # An address may be in two subdivisions, one inside the other; deny beats allow, as on every rung.
            return next((decision for decision in named if decision.verdict is Verdict.DROP), named[-1])
        if region.country in self.countries:
            return self.countries[region.country]
        if region.continent in self.continents:
            return self.continents[region.continent]
        return self.default if region.country else self.unknown


def build_ladder(policy: Policy, service: Service) -> Ladder:
    """Resolve a checked service's groups and lists into tables."""
    prefixes: dict[Network, PrefixRule] = {}
    drawn: dict[str, Decision] = {}
    regions: dict[LineKind, dict[str, Decision]] = {
        LineKind.SUBDIVISION: {},
        LineKind.COUNTRY: {},
        LineKind.CONTINENT: {},
    }
    # setdefault, with deny first: deny beats allow on every rung, and of two equal lines the first one is named.
    for lines, verdict in ((service.deny, Verdict.DROP), (service.allow, Verdict.ACCEPT)):
        for line, member in open_groups(policy.groups, lines):
            if member.kind in regions:
                decision = Decision(verdict, Rung(member.kind), line.text, line.place.line)
                regions[member.kind].setdefault(member.name, decision)
                continue
            if member.kind is LineKind.LIST and policy.lists[member.name].drawn:
                drawn.setdefault(member.name, Decision(verdict, Rung.LIST, line.text, line.place.line))
                continue
            decision = Decision(verdict, Rung.PREFIX, line.text, line.place.line)
            networks: tuple[Network, ...]
            if member.network is not None:
                networks, label = (member.network,), member.text
            else:
                networks, label = policy.lists[member.name].prefixes, f"list:{member.name}"
            for network in networks:
                prefixes.setdefault(network, PrefixRule(network, decision, label))
    return Ladder(
        prefixes=tuple(prefixes.values()),
        labels={rule.label: rule.decision for rule in sorted(prefixes.values(), key=attrgetter("label"))},
        drawn=drawn,
        subdivisions=regions[LineKind.SUBDIVISION],
        countries=regions[LineKind.COUNTRY],
        continents=regions[LineKind.CONTINENT],
        unknown=Decision(service.unknown, Rung.UNKNOWN, f"unknown: {_word(service.unknown)}", service.unknown_at),
        default=Decision(service.default, Rung.DEFAULT, f"default: {_word(service.default)}", service.default_at),
    )


def _word(verdict: Verdict) -> str:
    return "allow" if verdict is Verdict.ACCEPT else "deny"
