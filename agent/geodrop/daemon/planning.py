"""Plan in the daemon: compile what a reload would load, and compare it with what is in force. Nothing is changed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop.daemon.reload import wanted_config
from geodrop.operations.in_force import read_in_force
from geodrop.plan.operators import SshPeer
from geodrop.plan.plan import make_plan, read_facts

if TYPE_CHECKING:
    from geodrop.daemon.context import DaemonContext
    from geodrop.daemon.source import Made, Maker
    from geodrop.operations.in_force import RulesetInForce
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.difference import RulesetDiff


async def compile_for_plan(context: DaemonContext, maker: Maker) -> tuple[Made, RulesetInForce, RulesetDiff]:
    """Compile exactly what a reload would load; return it with what is in force and what differs.

    Raises as `Maker.make` and `read_in_force`.
    """
    _, config = await context.compiler.do(partial(wanted_config, context))
    try:
        made = await context.compiler.do(partial(maker.make, config))
        found = await context.reader.do(partial(read_in_force, config))
        against = found.ruleset.digest if found.ruleset else ""
        change = made.change if made.against == against else None
        if change is None:
            change = await context.compiler.do(partial(maker.compare, made.ruleset, found.ruleset))
        return made, found, change
    finally:
        context.compiler.start(partial(maker.wait, config))


def plan_in_pieces(made: Made, found: RulesetInForce, change: RulesetDiff, ssh: str) -> Pieces[dict[str, Any]]:
    """Return the object of `plan --json`; `ssh` is what the asking command knows of its SSH connection."""
    facts = read_facts(SshPeer.of(ssh))
    yield
    return make_plan(found.ruleset, made.ruleset, change, facts, paused=found.paused, exempt=found.exempt).as_json()
