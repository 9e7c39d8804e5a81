# SPDX-License-Identifier: Apache-2.0
"""Go back to a policy that was in force before, from its kept copy.

Steps are counted in policies and not in generations: a load that changed nothing, a pause and a repair are no steps. A
second rollback goes one policy further back, not forward to what the first one undid (see state.history.policies).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.errors import BusyError, DataError, NewerError
from geodrop.formats import HISTORY
from geodrop.operations.change import open_change
from geodrop.operations.decisions import decided
from geodrop.operations.outcome import Outcome
from geodrop.state.history import policies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.config import Config
    from geodrop.operations.change import OpenChange
    from geodrop.state.entry import ChangeRequest, Entry


WHAT = "`geodrop rollback`"


def roll_back(
    config: Config, asked: ChangeRequest, back: int = 1, generation: int | None = None, *, quick: bool = False
) -> Outcome:
    """Put an earlier policy in force on the interfaces judged now: `back` policies ago, or that of `generation`.

    While a load waits to be confirmed, the only step is to what was in force before it.

    The caller holds the lock; `quick` as for OpenChange. Raises BusyError for another step then, NotEnforcingError if
    nothing is in force, DataError if there was no such policy or it is not kept, NewerError if a newer
    geodrop has recorded policies, and what `OpenChange.apply` raises.
    """
    with open_change(config, asked, quick=quick) as change:
        if change.intent.confirm:
            return _undo(change, back, generation)
        selection, engine = change.in_place()
        entries = change.store.history
        if (newer := entries.newer()) and not generation:
            failure = HISTORY.refusal(newer, str(entries.path), "")
            raise NewerError(failure.message, f"{failure.next_step}, or name a step: geodrop rollback --generation N")
        target = with_generation(entries, generation) if generation else steps_back(entries, change.meant, back)
        change.attempt.target, change.attempt.digest = target.generation, target.digest
        ruleset = change.kept(target.digest)
        report = change.apply(ruleset, selection, engine, replace(change.intent, rolled_back=True))
    decided(WHAT)
    before, after = change.before, change.engines.observe()
    what = f"ruleset {target.digest[:12]} of generation {target.generation} ({utc.moment(target.time)})"
    if report is None:
        text = f"generation {after.generation} has {what} in force already; nothing to do"
    else:
        text = f"generation {before.generation} -> {after.generation}: back to {what}, until the next reload"
    return Outcome(before, after, report, text, change.store.unwritten())


def _undo(change: OpenChange, back: int, generation: int | None) -> Outcome:
    """Undo the load that waits to be confirmed, before its deadline."""
    intent, waiting = change.intent, change.intent.confirm
    if waiting is None or back != 1 or generation is not None:
        raise BusyError(
            f"ruleset {intent.digest[:12]} waits to be confirmed, and what was before it is the only step back",
            f"geodrop rollback, or geodrop confirm {intent.digest[:12]}, and then further",
        )
    wanted = replace(intent, digest=waiting.digest, unloaded=waiting.unloaded, rolled_back=True)
    report = change.go_back(wanted)
    decided(WHAT)
    before, after = change.before, change.engines.observe()
    if waiting.previous:
        what = f"back to ruleset {waiting.digest[:12]} of generation {waiting.previous}, until the next reload"
        text = f"generation {waiting.generation} -> {after.generation}: {what}"
    else:
        text = f"generation {waiting.generation} is undone: nothing is in force, as before it, until the next reload"
    return Outcome(before, after, report, text, change.store.unwritten())


def steps_back(entries: Iterable[Entry], digest: str, back: int) -> Entry:
    """Return the entry that put in force the policy `back` steps before the one with `digest`. Raises DataError."""
    steps = policies(entries)
    # The policy in force is the last step, unless the history lost that entry or a boot fell back to an older policy.
    before = steps[:-1] if steps and steps[-1].digest == digest else steps
    if back > len(before):
        raise DataError(
            f"the history knows {len(before)} policies before the one in force, not {back}", "see: geodrop history"
        )
    return before[-back]


def with_generation(entries: Iterable[Entry], generation: int) -> Entry:
    """Return the entry that put `generation` in force. Raises DataError."""
    for entry in entries:
        if entry.put_in_force and entry.generation == generation:
            return entry
    raise DataError(f"generation {generation} was never in force, or is forgotten", "see: geodrop history")
