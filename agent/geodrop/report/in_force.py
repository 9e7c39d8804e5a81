# SPDX-License-Identifier: Apache-2.0
"""What was in force at a time, with its ruleset, as history and kept rulesets tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.errors import DataError, NotEnforcingError
from geodrop.state.store import Store
from geodrop.state.timeline import DRIFT, EMPTY, UNRECORDED, Timeline

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.timeline import Stretch

LINES = 1_000
"""Entries in one piece of a long read: some 6 ms."""


@dataclass(frozen=True, slots=True)
class Then:
    """What was in force at a time, and its ruleset with the pause of that time; None if it still is in force."""

    stretch: Stretch
    ruleset: Ruleset | None

    def as_json(self) -> dict[str, Any]:
        """Return `in_force` of an object of `explain --json`."""
        return {
            "generation": self.stretch.generation,
            "digest": self.stretch.digest,
            "from": utc.moment(self.stretch.start),
            "until": None if self.ruleset is None else utc.moment(self.stretch.end),
        }


def read_timeline(config: Config) -> Pieces[Timeline]:
    """Read the history as a timeline, piece by piece."""
    timeline = Timeline()
    for number, entry in enumerate(Store(config.state).history, 1):
        timeline.add(entry)
        if number % LINES == 0:
            yield
    return timeline


def in_force_then(config: Config, at: float, now: float) -> Pieces[Then]:
    """Find what was in force `at` a time before `now`, both in seconds since the epoch.

    Raises DataError if it is not known or its ruleset is not kept, and NotEnforcingError if nothing was in force.
    """
    timeline = yield from read_timeline(config)
    stretches = list(timeline.until(now))
    then = next(one for one in stretches if one.end > at)
    lasted = f"from {utc.moment(then.start)} until {'now' if then is stretches[-1] else utc.moment(then.end)}"
    if then.cause == UNRECORDED:
        begins = "is empty" if then is stretches[-1] else f"begins at {utc.moment(then.end)}"
        if then.by and then.by.newer:
            begins = f"has records {then.by.error}, from {utc.moment(then.start)} on"
        raise DataError(
            f"the history {begins}: what was in force at {utc.moment(at)} is not known",
            "geodrop explain --ruleset FILE --at TIME answers from a ruleset",
        )
    if then.cause:
        raise NotEnforcingError(_why_not(then, at, lasted), "see: geodrop history")
    if then is stretches[-1]:
        return Then(then, None)
    store = Store(config.state)
    if not store.ruleset_path(then.digest).exists():
        raise DataError(
            f"generation {then.generation} was in force at {utc.moment(at)}, but its ruleset {then.digest[:12]} is "
            f"not in {config.state} any more",
            "`keep` in agent.yaml says how long rulesets are kept; geodrop explain --ruleset FILE answers from a file",
        )
    return Then(then, store.ruleset(then.digest).paused(then.paused))


def _why_not(then: Stretch, at: float, lasted: str) -> str:
    """Return the sentence that says why nothing was in force, or why that is not known."""
    moment = utc.moment(at)
    if then.cause == DRIFT:
        return (
            f"another program had changed geodrop's tables in the kernel at {moment}, {lasted}: which packets passed "
            "is not known"
        )
    if then.cause == EMPTY and then.by and not then.by.since:
        return f"whether anything was in force at {moment} is not known: the kernel was found empty, {lasted}"
    return f"nothing was in force at {moment}: every packet passed, {lasted} ({then.cause})"
