# SPDX-License-Identifier: Apache-2.0
"""Decide which records of the history are forgotten, and which older ones stay because they are still needed.

The oldest records go, up to one of them; so the chain of the others stays whole. Of those up to it stay, unchanged: the
ones that tell what was in force and what was asked for after them. The record about it has their hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geodrop import utc
from geodrop.state.chain import ChainLink
from geodrop.state.entry import DONE, Pruned, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from geodrop.state.chain import ChainLine
    from geodrop.state.entry import Entry

PAUSING = "pause", "resume"


class Left(NamedTuple):
    """What stays of a file: its lines, each with its line break, and what a record says of the rest.

    `since` is the time of the first one that goes, in seconds since the epoch.
    """

    lines: list[bytes]
    pruned: Pruned
    since: float

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.pruned.count:,} records until {utc.moment(self.pruned.until)} forgotten, as `keep` says"


def left(found: Iterable[ChainLine], oldest: float, limit: int, needed: Collection[str]) -> Left | None:
    """Return what stays of the lines of a file; None if nothing has to go.

    All up to the first one that is not older than `oldest` (seconds since the epoch) go, and as many as it takes until
    at most `limit` bytes are left. What puts in force a digest of `needed` stays.
    """
    lines = [line for line in found if line.whole]
    entries = [parse(line.content) for line in lines]
    end = max(_too_old(entries, oldest), _too_many(lines, limit))
    if not end:
        return None
    stay = _needed(entries[:end], needed)
    gone = [number for number in range(end) if number not in stay]
    if not gone:
        return None
    numbers = _numbers(entries[:end])
    last = max(gone)
    times = [entry.time for number in gone if (entry := entries[number])] or [0.0]
    kept = {str(numbers[number]): lines[number].digest for number in sorted(stay)}
    pruned = Pruned(numbers[last], lines[last].digest, times[-1], len(gone), kept)
    return Left(
        [lines[number].content + b"\n" for number in [*sorted(stay), *range(end, len(lines))]], pruned, times[0]
    )


def _too_old(entries: Sequence[Entry | None], oldest: float) -> int:
    """Return how many entries at the beginning are older; one that cannot be read counts as old as the next."""
    return next((number for number, entry in enumerate(entries) if entry and entry.time >= oldest), len(entries))


def _too_many(lines: Sequence[ChainLine], limit: int) -> int:
    """Return how many lines at the beginning exceed the limit, so that at most `limit` bytes follow them."""
    for number in range(len(lines) - 1, -1, -1):
        limit -= lines[number].size
        if limit < 0:
            return number + 1
    return 0


def _needed(entries: Sequence[Entry | None], needed: Collection[str]) -> set[int]:
    """Return which entries stay: they tell what was in force at the end, what that drops, and whether it was paused."""
    last: dict[tuple[str, str], int] = {}
    in_force = ""
    for number, entry in enumerate(entries):
        if entry is None or entry.outcome != DONE:
            continue
        if entry.put_in_force:
            in_force = entry.digest
            last["in force", entry.digest] = number
            if entry.drops:
                last["drops", entry.digest] = number
        if entry.origin in PAUSING:
            last["paused", ""] = number
        if entry.ends:
            last["ended", ""] = number
            in_force = entry.digest
    wanted = {in_force, *needed}
    return {number for (_, digest), number in last.items() if not digest or digest in wanted}


def _numbers(entries: Iterable[Entry | None]) -> list[int]:
    """Return the number of each record; one that cannot be read follows the one before it."""
    numbers, end = [], ChainLink()
    for entry in entries:
        end = ChainLink(entry.number if entry and entry.number else end.number + 1)
        numbers.append(end.number)
    return numbers
