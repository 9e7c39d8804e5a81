"""Go back to a policy that was in force before, from the copy that was kept of it.

How far is counted in policies and not in generations: a load that changed nothing, a pause or a repair is no step. A
second rollback goes one further back, not forward to what the first one undid (see state.history.policies).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.errors import DataError
from geodrop.operations.change import open_change
from geodrop.state.history import policies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.config import Config
    from geodrop.engine.api import ApplyReport, Observed
    from geodrop.state.history import ChangeRequest, Entry


@dataclass(frozen=True, slots=True)
class RolledBack:
    """`target` is when that policy came in force; `report` is None if it was in force already.

    `warnings` say what could not be written down, a line each.
    """

    before: Observed
    after: Observed
    target: Entry
    report: ApplyReport | None
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line for a person."""
        what = (
            f"ruleset {self.target.digest[:12]} of generation {self.target.generation} ({utc.moment(self.target.time)})"
        )
        if self.report is None:
            return f"generation {self.after.generation} has {what} in force already; nothing to do"
        return f"generation {self.before.generation} -> {self.after.generation}: back to {what}, until the next reload"


def roll_back(
    config: Config, asked: ChangeRequest, back: int = 1, generation: int | None = None, *, quick: bool = False
) -> RolledBack:
    """Put the policy in force that was so many policies back, or with that generation, where packets are judged now.

    For who holds the lock; `quick` as for OpenChange. Raises NotEnforcingError when nothing is in force, DataError when
    there was no such policy or it is no longer kept, and what `OpenChange.apply` does.
    """
    with open_change(config, asked, quick=quick) as change:
        selection, engine = change.in_place()
        entries = change.store.history
        if generation is None:
            target = steps_back(entries, change.before.digest, back)
        else:
            target = with_generation(entries, generation)
        change.attempt.target, change.attempt.digest = target.generation, target.digest
        ruleset = change.kept(target.digest)
        report = change.apply(ruleset, selection, engine, rolled_back=True)
    return RolledBack(change.before, change.engines.observe(), target, report, change.store.unwritten())


def steps_back(entries: Iterable[Entry], digest: str, back: int) -> Entry:
    """Where the policy came in force that is so many before the one with this digest; raises DataError."""
    steps = policies(entries)
    # What is in force is the last step, unless the history has lost it, or it came from a boot for want of that.
    before = steps[:-1] if steps and steps[-1].digest == digest else steps
    if back > len(before):
        raise DataError(
            f"the history knows {len(before)} policies before the one in force, not {back}", "see: geodrop history"
        )
    return before[-back]


def with_generation(entries: Iterable[Entry], generation: int) -> Entry:
    """Where that generation came in force; raises DataError."""
    for entry in entries:
        if entry.put_in_force and entry.generation == generation:
            return entry
    raise DataError(f"generation {generation} was never in force, or is forgotten", "see: geodrop history")
