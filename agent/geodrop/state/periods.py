"""What was in force when, as the history tells: entries to periods without gaps. Pure.

A load that nobody confirmed in time was in force until its deadline, whenever that was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.state.entry import DONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.state.entry import Entry


@dataclass(frozen=True, slots=True)
class PeriodInForce:
    """What was in force from `start` until `end`, both in seconds since the epoch; `end` is None if it still is.

    `digest` is the ruleset, "" if nothing was in force; `generation` is then 0. Until `paused`, in seconds since the
    epoch, services only counted, unless the period ends before. `origin` is that of the change that began it.
    """

    start: float
    generation: int = 0
    digest: str = ""
    paused: int = 0
    origin: str = ""
    end: float | None = None


class Periods:
    """Makes periods of the entries of a history, oldest first, which are added one by one."""

    def __init__(self) -> None:
        self._ended: list[PeriodInForce] = []
        self._now: PeriodInForce | None = None
        self._paused = 0
        self._deadline = 0
        """When the load in force is undone if it is not confirmed, in seconds since the epoch; 0 if it is."""
        self._before: tuple[int, str] = 0, ""
        """Generation and digest that the kernel goes back to then."""

    def add(self, entry: Entry) -> None:
        """Add the next entry."""
        if entry.outcome != DONE:
            return
        self._undo_by(entry.time, confirmed=entry.origin == "confirm")
        generation, digest = (self._now.generation, self._now.digest) if self._now else (0, "")
        if entry.origin in {"pause", "resume"}:
            self._paused = entry.paused
        if entry.put_in_force:
            if entry.confirm and not (self._deadline and digest == entry.digest):
                self._before = generation, digest
            self._deadline = entry.confirm
            self._switch(entry.time, entry.generation, entry.digest, entry.origin)
        elif entry.origin in {"undo", "unload", "rollback"}:
            if entry.origin == "undo" and entry.digest:
                # Nobody has loaded it again: it is in force under the number that it had.
                known = generation if digest == entry.digest else self._before[0]
                self._switch(entry.time, known, entry.digest, entry.origin)
            else:
                self._switch(entry.time, 0, "", entry.origin)
            self._deadline = 0
        elif entry.origin in {"pause", "resume"}:
            self._switch(entry.time, generation, digest, entry.origin)

    def until(self, now: float) -> list[PeriodInForce]:
        """Return the periods until `now`, in seconds since the epoch, oldest first; nothing may be added after it."""
        self._undo_by(now)
        return [*self._ended, *([self._now] if self._now else [])]

    def _undo_by(self, now: float, *, confirmed: bool = False) -> None:
        """Go back to what was before a load if its deadline has passed by `now`."""
        if self._deadline and now >= self._deadline and not confirmed:
            deadline, self._deadline = self._deadline, 0
            self._switch(deadline, *self._before, "undo")

    def _switch(self, at: float, generation: int, digest: str, origin: str) -> None:
        if self._now:
            # A clock that was set back must not make a period end before it began.
            at = max(at, self._now.start)
            if at > self._now.start:
                self._ended.append(replace(self._now, end=at))
        self._now = PeriodInForce(at, generation, digest, self._paused, origin)


def periods(entries: Iterable[Entry], now: float) -> list[PeriodInForce]:
    """Return the periods that a history's entries, oldest first, lead to; the last one lasts until `now`."""
    made = Periods()
    for entry in entries:
        made.add(entry)
    return made.until(now)


def in_force_at(known: Sequence[PeriodInForce], moment: float) -> PeriodInForce | None:
    """Return the period that holds a moment, in seconds since the epoch; None if it is before the first one."""
    for period in reversed(known):
        if period.start <= moment:
            return period
    return None
