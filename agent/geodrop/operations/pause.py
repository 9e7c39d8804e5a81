# SPDX-License-Identifier: Apache-2.0
"""Break glass: stop dropping and go on counting, until a user resumes or the time is up.

A pause is the ruleset in force with the start of every service put off (Ruleset.paused). The kernel's clock ends it, so
no process need be running; while it lasts, a load, a restart or a reboot applies it again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.errors import DataError
from geodrop.operations.change import open_change
from geodrop.operations.outcome import Outcome
from geodrop.state.intent import FOREVER

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.state.entry import ChangeRequest


def pause(config: Config, asked: ChangeRequest, until: int) -> Outcome:
    """Drop nothing until a moment, in seconds since the epoch; `state.intent.FOREVER` for a pause without an end.

    The caller holds the lock. Raises NotEnforcingError if nothing is in force, DataError if its ruleset is not kept,
    UnavailableError if xdp is asked for by name and cannot tell the time, and what `OpenChange.apply` raises.
    """
    return _put(config, asked, until)


def resume(config: Config, asked: ChangeRequest) -> Outcome:
    """End a pause. Raises what `pause` raises."""
    return _put(config, asked, 0)


def _put(config: Config, asked: ChangeRequest, until: int) -> Outcome:
    with open_change(config, asked) as change:
        selection, engine = change.in_place()
        try:
            # In a window both generations are loaded again; the pause applies to both, and the deadline stays.
            ruleset = change.kept(change.meant)
        except DataError as error:
            # A pause rebuilds the rules from the ruleset. The commands suggested here do not need the kept ruleset.
            step = "to drop nothing at once: geodrop unload" if until else "geodrop reload, then geodrop resume"
            raise DataError(error.message, step) from error
        change.attempt.paused = until
        wanted = replace(change.intent, paused=until, why=asked.why if until else "")
        report = change.apply(ruleset, selection, engine, wanted)
    before, after = change.before, change.engines.observe()
    text = _text(until) if report is None else f"generation {before.generation} -> {after.generation}: {_done(until)}"
    return Outcome(before, after, report, text, change.store.unwritten())


def _text(until: int) -> str:
    """Return the message for a request that changed nothing."""
    return f"paused already, until {_end(until)}" if until else "not paused; nothing to do"


def _done(until: int) -> str:
    if until:
        return f"paused until {_end(until)}: nothing is dropped, all is counted"
    return "resumed: services drop again"


def _end(until: int) -> str:
    return "resume" if until == FOREVER else utc.moment(until)
