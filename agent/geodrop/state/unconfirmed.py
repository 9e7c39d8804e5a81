# SPDX-License-Identifier: Apache-2.0
"""A load that nobody has confirmed yet, and one that was undone: what intent.json says of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.ruleset.fields import LAST_MOMENT, flag, record, text, whole
from geodrop.state.names import ANY, DIGEST, MAX_GENERATION, MAX_TEXT

if TYPE_CHECKING:
    from geodrop.state.intent import Intent

SHORTEST, LONGEST = 10, 86_400
"""Seconds for which a load may wait for a confirmation."""

SECOND = 10**9
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A load that the kernel undoes by itself at `deadline`, in nanoseconds of CLOCK_MONOTONIC of the boot `boot`.

    `generation` is the load's, `previous` the one that packets then go back to (0: none), `digest` what was asked for
    before the load, and `unloaded` whether nothing was. The load waits for `seconds`, until `ends` by the clock of the
    machine when that was set (seconds since the epoch). `why` is the reason given for the load.
    """

    generation: int = 0
    previous: int = 0
    digest: str = ""
    unloaded: bool = False
    seconds: int = SHORTEST
    deadline: int = 0
    ends: int = 0
    boot: str = ""
    why: str = ""

    def left(self, boot: str, now: int) -> float:
        """Return the seconds until the deadline, at a moment of CLOCK_MONOTONIC; at most 0 if it is over.

        It is over in every later boot.
        """
        return (self.deadline - now) / SECOND if self.boot == boot else 0.0


@dataclass(frozen=True, slots=True)
class Undone:
    """A load that the kernel undid: its ruleset and generation, when that was (seconds since the epoch), its reason."""

    digest: str
    generation: int
    time: int
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"generation {self.generation}{why} was not confirmed and undone at {utc.moment(self.time)}"


def undone(intent: Intent, confirm: Unconfirmed, time: int) -> Intent:
    """Return the intent after the kernel has gone back: it counts as a rollback, so what was before stays."""
    return replace(
        intent,
        generation=max(intent.generation, confirm.generation),
        begun=0,
        digest=confirm.digest,
        unloaded=confirm.unloaded,
        rolled_back=True,
        confirm=None,
        undone=Undone(intent.digest, confirm.generation, time, confirm.why),
    )


UNCONFIRMED = record(
    Unconfirmed,
    ("why",),
    others=True,
    generation=whole(0, MAX_GENERATION),
    previous=whole(0, MAX_GENERATION),
    digest=text(64, DIGEST),
    unloaded=flag,
    seconds=whole(1, LONGEST),
    deadline=whole(0, 1 << 63),
    ends=whole(0, LAST_MOMENT),
    boot=text(64, ANY),
    why=text(MAX_TEXT, ANY),
)
UNDONE = record(
    Undone,
    ("why",),
    others=True,
    digest=text(64, DIGEST),
    generation=whole(0, MAX_GENERATION),
    time=whole(0, LAST_MOMENT),
    why=text(MAX_TEXT, ANY),
)
