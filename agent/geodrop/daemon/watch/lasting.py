"""What no repair lasts against: tried again ever more seldom, and said until it is gone.

Somebody who fights is another matter (see repairs): each of his changes is a commit of his own, and put right at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from geodrop import utc
from geodrop.operations.repair import unnumbered

FIRST = 1.0
LONGEST = 3600.0
"""Seconds to the next try: twice as long each time, up to an hour."""


@dataclass(slots=True)
class Lasting:
    """The differences as one line, how often they were repaired for nothing, and who was last to change something."""

    what: str = ""
    culprit: str = ""
    tries: int = 0
    next_try: float = 0.0

    def tried(self, what: str, culprit: str, now: float) -> float:
        """A repair did not last; gives the seconds to the next. `now` in seconds since the epoch."""
        if unnumbered(what) != unnumbered(self.what):
            self.culprit, self.tries = culprit, 0
        self.what = what
        delay = min(FIRST * 2.0**self.tries, LONGEST)
        self.tries += 1
        self.next_try = now + delay
        return delay

    def gone(self) -> None:
        """It is as it should be."""
        self.what, self.culprit, self.tries = "", "", 0

    def problems(self) -> list[str]:
        """What is said of it in `status`."""
        if not self.tries:
            return []
        times = "once" if self.tries == 1 else f"{self.tries} times"
        next_step = f"tried again at {utc.moment(self.next_try)}; next: geodrop verify, nft list table inet geodrop"
        return [f"repaired {times}, and there again: {self.what}; last changed by {self.culprit}; {next_step}"]
