"""What a generation says about itself in the kernel: the comment of its chain.

It stands there and not in the table's comment because the kernel cannot change the comment of a table that exists
(nf_tables_updtable, as of Linux 6.18, takes flags only).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from geodrop import utc

_FORM = re.compile(r"geodrop generation ([0-9]+) digest ([0-9a-f]{64}) loaded ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z)")


@dataclass(frozen=True, slots=True)
class Stamp:
    """`digest` is that of the ruleset, in hex; `loaded` in seconds since the epoch."""

    generation: int
    digest: str
    loaded: int

    @classmethod
    def parse(cls, comment: str) -> Stamp | None:
        """Read it back; None if it is something else."""
        found = _FORM.fullmatch(comment)
        if not found:
            return None
        try:
            loaded = datetime.fromisoformat(found[3])
        except ValueError:
            return None
        return cls(int(found[1]), found[2], int(loaded.timestamp()))

    def __str__(self) -> str:
        return f"geodrop generation {self.generation} digest {self.digest} loaded {utc.moment(self.loaded)}"
