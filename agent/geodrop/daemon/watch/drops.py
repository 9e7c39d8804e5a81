# SPDX-License-Identifier: Apache-2.0
"""How many packets were dropped in the last minute, from totals that are read every few seconds."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0
"""Seconds."""


class Drops:
    """The totals of the last minute, each with its time by the monotonic clock."""

    def __init__(self) -> None:
        self._read: deque[tuple[float, int]] = deque()

    def note(self, total: int, now: float) -> None:
        """Remember a total. One below the last starts over: another program removed the counters."""
        if self._read and total < self._read[-1][1]:
            self._read.clear()
        self._read.append((now, total))
        # The newest total that is at least a minute old is the base of the difference.
        while len(self._read) > 2 and now - self._read[1][0] >= WINDOW:
            self._read.popleft()

    def as_object(self) -> dict[str, int] | None:
        """Return the packets dropped and in how many seconds; None before there are two totals to compare."""
        if len(self._read) < 2:
            return None
        (began, before), (ended, after) = self._read[0], self._read[-1]
        return {"packets": after - before, "seconds": round(ended - began)}
