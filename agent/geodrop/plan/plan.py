# SPDX-License-Identifier: Apache-2.0
"""The plan: what a change from the ruleset in force to another one would do, as the object of `plan --json`.

A connection counts as cut if the new ruleset drops its packets now, by mode, `starts` and pause of this moment, and the
one in force does not. What is the host's own counts as newly dropped even before `starts` and during a pause.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.errors import UnavailableError
from geodrop.linux.connections import read_connections
from geodrop.linux.routes import Surroundings, read_surroundings
from geodrop.plan.connections import Cut, connections_cut
from geodrop.plan.judge import Judge
from geodrop.plan.limits import enforcing, held_by
from geodrop.plan.operators import logged_in
from geodrop.plan.own import MAX_ROUTES, newly_dropped, read_resolvers, sources
from geodrop.ruleset.explain import effective_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.errors import GeodropError
    from geodrop.linux.connections import TcpConnection
    from geodrop.plan.judge import Address
    from geodrop.plan.limits import HeldLimit
    from geodrop.plan.operators import SshPeer
    from geodrop.plan.own import Network, OwnDropped
    from geodrop.ruleset.difference import RulesetDiff
    from geodrop.ruleset.model import Ruleset

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the kernel and the files of this host say now, for a plan: read once.

    `connections` is None if it cannot be read. `operators` are where operators are logged in from.
    """

    connections: Sequence[TcpConnection] | None
    around: Surroundings
    resolvers: Sequence[Address]
    operators: Sequence[SshPeer]
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do. `against` is "" if nothing is in force; `held` is empty if no limit holds it. `refused`
    is the failure of a load that would be refused whatever it changes: a signature that does not count.
    """

    digest: str
    against: str
    change: RulesetDiff
    cut: Cut
    own: Sequence[OwnDropped]
    held: Sequence[HeldLimit]
    blast_radius: float | None
    warnings: Sequence[str] = ()
    refused: GeodropError | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the object of `plan --json`."""
        refused = self.refused
        return {
            "schema": SCHEMA,
            "changes": self.digest != self.against,
            "digest": self.digest,
            "against": self.against or None,
            "held": [one.as_json(self.digest) for one in self.held],
            "refused": refused
            and {"exit": refused.exit_code, "error": refused.message, "next_step": refused.next_step},
            "limit": self.blast_radius,
            "text": self.change.as_text(),
            "never_drop_ports": self.change.never_drop_ports,
            "services": [one.as_json() for one in self.change.services],
            "connections": self.cut.as_json(),
            "own": [one.as_json() for one in self.own],
            "warnings": list(self.warnings),
        }


def read_facts(operator: SshPeer | None) -> HostFacts:
    """Read what a plan needs of this host, in the network namespace of the calling thread.

    `operator` is where the command was typed; None: the operators who are logged in by SSH. What cannot be read is in
    the warnings.
    """
    warnings: list[str] = []
    connections: list[TcpConnection] | None = None
    around = Surroundings((), (), ())
    try:
        connections = read_connections()
    except UnavailableError as failure:
        warnings.append(f"which connections would be cut is not known: {failure.message}")
    try:
        around = read_surroundings()
    except UnavailableError as failure:
        warnings.append(f"the host's own addresses and gateways are not known: {failure.message}")
    if len(around.destinations) > MAX_ROUTES:
        warnings.append(f"{len(around.destinations) - MAX_ROUTES:,} routes were not looked at")
    resolvers, unread = read_resolvers()
    operators = [operator] if operator else logged_in(lambda: connections or ())
    return HostFacts(connections, around, resolvers, operators, [*warnings, *unread])


def make_plan(  # noqa: PLR0913 - two rulesets, what differs, the host, and the time
    old: Ruleset | None,
    new: Ruleset,
    change: RulesetDiff,
    facts: HostFacts,
    *,
    paused: int = 0,
    exempt: Sequence[Network] = (),
    refused: GeodropError | None = None,
    now: float | None = None,
) -> Plan:
    """Return what a change from `old` (None: nothing is in force) to `new` would do.

    `change` is what differs between the two. Services only count until `paused`, and before their start; that and `now`
    are in seconds since the epoch. Connections of `exempt` networks are not cut. `refused` as for Plan.
    """
    now = time.time() if now is None else now
    before = Judge(old, _dropping(old, paused, now))
    after = Judge(new, _dropping(new, paused, now))
    cut = Cut(known=False)
    if facts.connections is not None:
        cut = connections_cut(before, after, facts.connections, facts.around.addresses, exempt)
    looked_at = sources(facts.around, facts.resolvers, facts.operators)
    own, unseen = newly_dropped(
        Judge(old, enforcing(old.meta) if old else ()), Judge(new, enforcing(new.meta)), looked_at
    )
    held = held_by(old, new, change, facts.operators, now) if old else []
    return Plan(
        digest=new.digest,
        against=old.digest if old else "",
        change=change,
        cut=cut,
        own=own,
        held=held,
        blast_radius=new.meta.blast_radius,
        warnings=[*_warnings(new, cut, paused, now), *facts.warnings, *unseen],
        refused=refused,
    )


def _dropping(ruleset: Ruleset | None, paused: int, now: float) -> list[str]:
    services = ruleset.meta.services if ruleset else ()
    return [one.name for one in services if effective_mode(one, now, paused=now < paused) == "enforce"]


def _warnings(new: Ruleset, cut: Cut, paused: int, now: float) -> list[str]:
    warnings = []
    for service in dict.fromkeys(name for name, _ in cut.left_out):
        named = [f"{region} ({count:,})" for (name, region), count in cut.left_out.items() if name == service]
        warnings.append(f"{service}: its allow list leaves out regions with open connections: {', '.join(named)}")
    if now < paused:
        warnings.append("paused: nothing is dropped until the pause ends, so no connection is cut before that")
    warnings += [
        f"{service.name} drops nothing before {utc.moment(service.starts)}, so no connection is cut before that"
        for service in new.meta.services
        if service.mode == "enforce" and service.starts is not None and now < service.starts
    ]
    return warnings
