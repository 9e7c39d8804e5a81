"""What was in force at a time, with its ruleset, as history and kept rulesets tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.errors import DataError, NotEnforcingError
from geodrop.state.periods import Periods, in_force_at
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.periods import PeriodInForce

LINES = 1_000
"""Entries in one piece of a long read: some 6 ms."""


@dataclass(frozen=True, slots=True)
class Then:
    """What was in force at a time, and its ruleset with the pause of that time; None if it still is in force."""

    period: PeriodInForce
    ruleset: Ruleset | None

    def as_json(self) -> dict[str, Any]:
        """Return `in_force` of an object of `explain --json`."""
        return {
            "generation": self.period.generation,
            "digest": self.period.digest,
            "from": utc.moment(self.period.start),
            "until": None if self.period.end is None else utc.moment(self.period.end),
        }


def read_periods(config: Config, now: float) -> Pieces[list[PeriodInForce]]:
    """Read the history as periods until `now`, in seconds since the epoch, oldest first."""
    made = Periods()
    for number, entry in enumerate(Store(config.state).history, 1):
        made.add(entry)
        if number % LINES == 0:
            yield
    return made.until(now)


def in_force_then(config: Config, at: float, now: float) -> Pieces[Then]:
    """Find what was in force `at` a time before `now`, both in seconds since the epoch.

    Raises DataError if it is not known or its ruleset is not kept, and NotEnforcingError if nothing was in force.
    """
    known = yield from read_periods(config, now)
    period = in_force_at(known, at)
    if period is None:
        begins = f"begins at {utc.moment(known[0].start)}" if known else "is empty"
        raise DataError(
            f"the history {begins}: what was in force at {utc.moment(at)} is not known",
            "geodrop explain --ruleset FILE --at TIME answers from a ruleset",
        )
    if not period.digest:
        until = "now" if period.end is None else utc.moment(period.end)
        raise NotEnforcingError(
            f"nothing was in force at {utc.moment(at)}: every packet passed, from {utc.moment(period.start)} "
            f"({period.origin}) until {until}",
            "see: geodrop history",
        )
    if period.end is None:
        return Then(period, None)
    store = Store(config.state)
    if not store.ruleset_path(period.digest).exists():
        raise DataError(
            f"generation {period.generation} was in force at {utc.moment(at)}, but its ruleset {period.digest[:12]} is "
            f"not in {config.state} any more",
            "`keep` in agent.yaml says how long rulesets are kept; geodrop explain --ruleset FILE answers from a file",
        )
    return Then(period, store.ruleset(period.digest).paused(period.paused))
