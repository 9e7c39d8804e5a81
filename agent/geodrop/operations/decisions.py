# SPDX-License-Identifier: Apache-2.0
"""What was decided about what is in force, by this process and so far: a reload that was asked for before gives way.

An unload, a rollback, a confirmation and an undo decide, also if nothing had to be done for them. A load, a repair, a
compaction, a pause and an exemption do not. At most one change is made at a time, as for engine.underway; any thread
may read. A decision is noted here after its intent is written: a reader that takes the number first and the intent
afterwards misses none.

Comparing what is in force at both moments would not do: a second unload changes nothing, and a repair changes what
nobody has decided about.
"""

from __future__ import annotations

from typing import NamedTuple


class Decided(NamedTuple):
    """A decision: how many there were with it, and what it was, for people."""

    number: int
    what: str


class _SoFar:
    """The last decision of this process."""

    last = Decided(0, "")


def decided(what: str) -> None:
    """Note a decision that has just been carried out."""
    _SoFar.last = Decided(_SoFar.last.number + 1, what)


def number() -> int:
    """Return how many decisions there were so far."""
    return _SoFar.last.number


def after(known: int) -> str:
    """Return what was decided last, if that was after `number` returned `known`; else ""."""
    last = _SoFar.last
    return last.what if last.number > known else ""
