"""Break glass: stop dropping and go on counting, until somebody says otherwise or the time is up.

A pause is the ruleset in force, seen with every service's start put off (Ruleset.paused). The kernel's clock ends it,
with nobody running; a load, a restart or a reboot applies it again while it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.errors import DataError
from geodrop.operations.change import open_change
from geodrop.state.store import FOREVER

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import ApplyReport, Observed
    from geodrop.state.history import ChangeRequest


@dataclass(frozen=True, slots=True)
class Paused:
    """What a pause or its end did: `report` is None if the kernel was like that already; `until` 0 means resumed.

    `warnings` say what could not be written down, a line each.
    """

    before: Observed
    after: Observed
    until: int
    report: ApplyReport | None
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line for a person."""
        end = "resume" if self.until == FOREVER else utc.moment(self.until)
        if self.report is None:
            return f"paused already, until {end}" if self.until else "not paused; nothing to do"
        what = (
            f"paused until {end}: nothing is dropped, all is counted" if self.until else "resumed: services drop again"
        )
        return f"generation {self.before.generation} -> {self.after.generation}: {what}"


def pause(config: Config, asked: ChangeRequest, until: int) -> Paused:
    """Drop nothing until a moment, in seconds since the epoch; `state.store.FOREVER` if no end is known.

    For who holds the lock. Raises NotEnforcingError when nothing is in force, DataError when its ruleset is not kept,
    UnavailableError where xdp is asked for by name and cannot tell the time, and what `OpenChange.apply` does.
    """
    return _put(config, asked, until)


def resume(config: Config, asked: ChangeRequest) -> Paused:
    """End a pause. Raises what `pause` does."""
    return _put(config, asked, 0)


def _put(config: Config, asked: ChangeRequest, until: int) -> Paused:
    with open_change(config, asked) as change:
        selection, engine = change.in_place()
        try:
            ruleset = change.kept(change.before.digest)
        except DataError as error:
            # A pause is the ruleset, seen differently. What takes it away needs none of it.
            step = "to drop nothing at once: geodrop unload" if until else "geodrop reload, then geodrop resume"
            raise DataError(error.message, step) from error
        change.attempt.paused = until
        report = change.apply(ruleset, selection, engine, paused=until, why=asked.why if until else "")
    return Paused(change.before, change.engines.observe(), until, report, change.store.unwritten())
