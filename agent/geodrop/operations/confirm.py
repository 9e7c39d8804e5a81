# SPDX-License-Identifier: Apache-2.0
"""Keep what a load has put in force on trial: without it the kernel goes back at the deadline.

It is the usual switch, to the generation that is in force, and takes the window away with it. If the kernel goes back
meanwhile, the switch fails as a whole, and what was in force before the load stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError, BusyError
from geodrop.operations.change import open_change
from geodrop.operations.decisions import decided
from geodrop.operations.outcome import Outcome
from geodrop.operations.window import is_over

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.operations.change import OpenChange
    from geodrop.state.entry import ChangeRequest


def confirm(config: Config, asked: ChangeRequest, digest: str = "") -> Outcome:
    """Confirm the load that waits; `digest` are the first digits of the ruleset that is meant (empty: whichever waits).

    The caller holds the lock. If none waits, that is a success if this ruleset is in force. Raises BusyError if another
    one waits, and ApplyError if it is too late or the ruleset is not in force; what is in force then stays.
    """
    with open_change(config, asked) as change:
        intent, before = change.intent, change.before
        if intent.confirm is None:
            return Outcome(before, before, None, _confirmed_already(change, digest), change.store.unwritten())
        if not intent.digest.startswith(digest):
            raise BusyError(
                f"ruleset {intent.digest[:12]} waits to be confirmed, and not {digest[:12]}",
                f"geodrop confirm {intent.digest[:12]}, or geodrop rollback",
            )
        selection, engine = change.in_place()
        ruleset = change.kept(intent.digest)
        try:
            report = change.apply(ruleset, selection, engine, replace(intent, confirm=None))
        except ApplyError as error:
            if not is_over(intent.confirm):
                raise
            raise _too_late(f"generation {intent.confirm.generation} was undone meanwhile") from error
    decided("`geodrop confirm`")
    after = change.engines.observe()
    return Outcome(before, after, report, f"confirmed: generation {after.generation} stays", change.store.unwritten())


def _confirmed_already(change: OpenChange, digest: str) -> str:
    """Return the line for a confirmation when no load waits. Raises ApplyError if the ruleset is not in force."""
    undone, before = change.intent.undone, change.before
    if undone and undone.digest.startswith(digest):
        raise _too_late(str(undone))
    if not before.generation or not before.digest.startswith(digest) or change.meant != before.digest:
        there = f"generation {before.generation}, ruleset {before.digest[:12]}" if before.generation else "nothing"
        raise ApplyError(f"nothing waits to be confirmed, and {there} is in force", "see: geodrop history")
    return f"generation {before.generation} (ruleset {before.digest[:12]}) is in force for good; nothing to confirm"


def _too_late(what: str) -> ApplyError:
    return ApplyError(f"too late: {what}", "geodrop reload --confirm-within TIME, and confirm in time")
