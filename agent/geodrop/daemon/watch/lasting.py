# SPDX-License-Identifier: Apache-2.0
"""Differences that come back after each repair: retried with growing pauses, and reported until they are gone.

A program that keeps changing things is another matter (see repairs): each of its changes is a commit of its own, and is
repaired at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from geodrop import utc
from geodrop.operations.repair import unnumbered

FIRST = 1.0
LONGEST = 3600.0
"""Seconds to the next try: the first pause, doubled each time, up to an hour."""


@dataclass(slots=True)
class Lasting:
    """The differences as one line, the number of repairs that did not last, and the last program that changed
    something.
    """

    what: str = ""
    culprit: str = ""
    tries: int = 0
    next_try: float = 0.0

    def tried(self, what: str, culprit: str, now: float) -> float:
        """Record a repair that did not last; return the seconds to the next try. `now` in seconds since the epoch."""
        if unnumbered(what) != unnumbered(self.what):
            self.culprit, self.tries = culprit, 0
        self.what = what
        delay = min(FIRST * 2.0**self.tries, LONGEST)
        self.tries += 1
        self.next_try = now + delay
        return delay

    def gone(self) -> None:
        """Record that the kernel is as it should be."""
        self.what, self.culprit, self.tries = "", "", 0

    def problems(self) -> list[str]:
        """Return the lines for `status`."""
        if not self.tries:
            return []
        times = "once" if self.tries == 1 else f"{self.tries} times"
        next_step = f"tried again at {utc.moment(self.next_try)}; next: geodrop verify, nft list table inet geodrop"
        return [f"repaired {times}, and there again: {self.what}; last changed by {self.culprit}; {next_step}"]
