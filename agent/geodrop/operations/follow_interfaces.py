# SPDX-License-Identifier: Apache-2.0
"""Follow interfaces that come and go: judge packets there, or no longer, by the generation in force.

No map is filled: rules of the base chain change in one transaction, links are attached and detached. This is cheap
enough to run for every interface that arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.dataplane import transaction
from geodrop.engine import underway
from geodrop.engine.interfaces import select
from geodrop.errors import NotEnforcingError
from geodrop.operations.admission import require
from geodrop.operations.change import OpenChange
from geodrop.operations.outcome import Outcome
from geodrop.operations.window import held
from geodrop.state.entry import Attempt
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config


def follow_interfaces(config: Config) -> Outcome:
    """Judge packets on the interfaces that agent.yaml selects, with the generation in force; no number is spent.

    If nothing is selected, nothing changes, so a returning interface still has its rule. The caller holds the lock.
    Raises NotEnforcingError if nothing is in force, DataError if the ruleset is not kept, and what `transaction.apply`
    raises; after an error nothing has changed.
    """
    change = OpenChange(config, Store(config.state), Attempt())
    before = change.before
    if not before.generation:
        raise NotEnforcingError("nothing is in force", "load a ruleset first: geodrop load FILE")
    selection = select(config.interfaces, before.names)
    if not selection.names:
        return Outcome(before, before)
    intent = change.intent
    expected = held(change.store, intent, before)
    require(config, change.store, before, expected.ruleset, expected.undo.ruleset if expected.undo else None)
    generation = before.window.generation if before.window and expected.undo else before.generation
    with underway.making("interfaces", generation, intent):
        report = transaction.apply(
            change.engines, expected.ruleset, generation, selection, config.engine, undo=expected.undo
        )
    return Outcome(before, change.engines.observe(), report)
