# SPDX-License-Identifier: Apache-2.0
"""What a generation says about itself in the kernel: the comment of its chain.

The table's comment cannot hold it, since the kernel cannot change the comment of an existing table (nf_tables_updtable
accepts only flags, as of Linux 6.18).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from geodrop import utc

_FORM = re.compile(r"geodrop generation ([0-9]+) digest ([0-9a-f]{64}) loaded ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z)")


@dataclass(frozen=True, slots=True)
class Stamp:
    """`digest` is the ruleset's, in hex; `loaded` is in seconds since the epoch."""

    generation: int
    digest: str
    loaded: int

    @classmethod
    def parse(cls, comment: str) -> Stamp | None:
        """Read a comment; return None if it is no stamp."""
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
