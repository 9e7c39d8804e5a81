# SPDX-License-Identifier: Apache-2.0
"""Recent repairs: for the status, and to keep a program that fights from filling the log."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from geodrop import utc

KEPT = 10
MINUTE = 60.0
LOUD = 5
"""Repairs in a minute that are logged and recorded one by one; more than that is a fight."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair: `time` in seconds since the epoch, `seconds` from the event to the end."""

    time: float
    culprit: str
    what: str
    generation: int
    seconds: float

    def as_object(self) -> dict[str, Any]:
        """Return the object for `status --json`."""
        return {
            "time": utc.moment(self.time),
            "culprit": self.culprit,
            "what": self.what,
            "generation": self.generation,
            "seconds": round(self.seconds, 3),
        }


class Repairs:
    """Counts repairs by the minute, and keeps the last few. `now` is in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.last: deque[Repair] = deque(maxlen=KEPT)
        self.total = 0
        self._moments: deque[float] = deque()
        self._silent = 0

    def add(self, repair: Repair, now: float) -> int | None:
        """Count a repair; return how many before it were not logged if this one should be, else None."""
        loud = self.are_few(now)
        self.last.append(repair)
        self.total += 1
        self._moments.append(now)
        if not loud:
            self._silent += 1
            return None
        unsaid, self._silent = self._silent, 0
        return unsaid

    def are_few(self, now: float) -> bool:
        """Whether one more repair should be logged by itself."""
        return self._in_a_minute(now) < LOUD

    def problems(self, now: float) -> list[str]:
        """Return a line if a program keeps undoing what is in force."""
        count = self._in_a_minute(now)
        if count < LOUD:
            return []
        return [f"{self.last[-1].culprit} keeps undoing what is in force: {count} repairs in a minute"]

    def _in_a_minute(self, now: float) -> int:
        while self._moments and self._moments[0] <= now - MINUTE:
            self._moments.popleft()
        return len(self._moments)
