# SPDX-License-Identifier: Apache-2.0
"""Plan in the daemon: compile what a reload would load, and compare it with what is in force. Nothing is changed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop.daemon.reload import wanted_config
from geodrop.operations.admission import refusal
from geodrop.operations.in_force import read_in_force
from geodrop.plan.operators import SshPeer
from geodrop.plan.plan import make_plan, read_facts
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.daemon.context import DaemonContext
    from geodrop.daemon.source import Made, Maker
    from geodrop.errors import GeodropError
    from geodrop.operations.in_force import RulesetInForce
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.difference import RulesetDiff


class MadeForPlan(NamedTuple):
    """What a reload would load, what is in force, what differs, and why the reload would be refused, if it would."""

    made: Made
    found: RulesetInForce
    change: RulesetDiff
    refused: GeodropError | None


async def compile_for_plan(context: DaemonContext, maker: Maker) -> MadeForPlan:
    """Compile exactly what a reload would load, and compare it with what is in force.

    Raises as `Maker.make` and `read_in_force`.
    """
    _, config = await context.compiler.do(partial(wanted_config, context))
    try:
        made = await context.compiler.do(partial(maker.make, config))
        path = config.source.ruleset if config.source else None
        refused = await context.compiler.do(partial(refusal, path, made.ruleset, config, Store(config.state)))
        found = await context.reader.do(partial(read_in_force, config))
        against = found.ruleset.digest if found.ruleset else ""
        change = made.change if made.against == against else None
        if change is None:
            change = await context.compiler.do(partial(maker.compare, made.ruleset, found.ruleset))
        return MadeForPlan(made, found, change, refused)
    finally:
        context.compiler.start(partial(maker.wait, config))


def plan_in_pieces(planned: MadeForPlan, ssh: str) -> Pieces[dict[str, Any]]:
    """Return the object of `plan --json`; `ssh` is what the asking command knows of its SSH connection."""
    facts = read_facts(SshPeer.of(ssh))
    yield
    made, found, change, refused = planned
    plan = make_plan(
        found.ruleset, made.ruleset, change, facts, paused=found.paused, exempt=found.exempt, refused=refused
    )
    return plan.as_json()
