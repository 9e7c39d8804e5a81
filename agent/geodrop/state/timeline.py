# SPDX-License-Identifier: Apache-2.0
"""What was in force from when to when, and why something was not, from the records of the history. Pure.

What a record does not tell counts as not in force: the time before the first record, what is dropped by a ruleset that
no record describes, the time since the last record if the kernel was then found empty. A load that nobody confirmed was
in force until its deadline, whenever that was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop.state.entry import DONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.ruleset.enforced import EnforcedService
    from geodrop.state.entry import Entry

DRIFT = "drift"
EMPTY = "nothing loaded"
OTHER = "another ruleset than recorded"
UNRECORDED = "not recorded"
NOT_IN_POLICY = "not in the policy"


class Span(NamedTuple):
    """A time, in seconds since the epoch, for which one thing is true of a line of a service.

    `cause` says why the line was not in force, "" if it was; `by` is the record that is responsible.
    """

    start: float
    end: float
    cause: str
    by: Entry | None

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which no change was made; times are in seconds since the epoch.

    `digest` is the ruleset in force, as `generation`; it `drops` these, None if no record says what it drops. `cause`
    says why nothing was in force, "" if something was, and `by` is the record that made it so. After a drift both are
    those that were recorded. Services only count until `paused`, because of the record `paused_by`.
    """

    start: float
    end: float = 0.0
    generation: int = 0
    digest: str = ""
    drops: Sequence[EnforcedService] | None = ()
    cause: str = EMPTY
    by: Entry | None = None
    paused: int = 0
    paused_by: Entry | None = None

    def spans(self, service: str, line: str) -> Iterator[Span]:
        """Yield what is true of a line of a service, in this time."""
        if self.cause or self.drops is None:
            yield Span(self.start, self.end, self.cause or UNRECORDED, self.by)
            return
        found = next((one for one in self.drops if one.name == service), None)
        if found is None or not found.drops(line):
            yield Span(self.start, self.end, NOT_IN_POLICY, self.by)
            return
        inside = (moment for moment in (self.paused, *found.moments()) if self.start < moment < self.end)
        moments = sorted({self.start, self.end, *inside})
        for start, end in pairwise(moments):
            if start < self.paused:
                yield Span(start, end, "pause", self.paused_by)
            else:
                yield Span(start, end, found.lacks(start), self.by)


class Timeline:
    """Goes through the records of a history, oldest first, which are added one by one."""

    def __init__(self) -> None:
        self._done: list[Stretch] = []
        """The stretches that have ended; `_now` is the one that has not."""
        self._now = Stretch(0.0, cause=UNRECORDED)
        self._last = 0.0
        """When the last record was made."""
        self._known = 0.0
        """Before this moment records were forgotten."""
        self._drops: dict[str, Sequence[EnforcedService]] = {}
        self._loaded: Entry | None = None
        self._deadline = 0
        """When the load in force is undone if it is not confirmed, in seconds since the epoch; 0 if it is."""
        self._before = self._now
        """What the kernel goes back to then."""

    def add(self, entry: Entry) -> None:
        """Add the next record."""
        if entry.newer:
            self._cut(entry.time, cause=UNRECORDED, by=entry)
        if entry.digest and entry.drops:
            self._drops[entry.digest] = entry.drops
        if entry.pruned:
            self._known = max(self._known, entry.pruned.until)
        elif entry.outcome == DONE:
            if entry.origin != "confirm":
                self._undo_by(entry.time)
            self._change(entry)
        elif entry.origin in {"repair", "drift"}:
            self._cut(entry.since or entry.time, cause=DRIFT, by=entry)
        self._last = max(self._last, entry.time)

    def until(self, now: float, digest: str | None = None) -> Iterator[Stretch]:
        """Yield what was in force until `now`, in seconds since the epoch, without gaps and in order.

        `digest` is the ruleset that the kernel holds now, "" if it holds none, None if nobody has looked. No record may
        be added afterwards.
        """
        self._undo_by(now)
        if digest is not None and not self._now.cause and self._now.digest != digest:
            self._cut(self._last, cause=OTHER if digest else EMPTY, by=None)
        self._cut(now)
        if self._known:
            yield Stretch(0.0, self._known, cause=UNRECORDED)
        for one in self._done:
            if one.end > self._known:
                yield replace(one, start=max(one.start, self._known))

    def _change(self, entry: Entry) -> None:
        self._look_back(entry)
        if entry.put_in_force:
            self._watch(entry)
        if entry.origin == "undo":
            self._undone(entry)
        elif entry.put_in_force:
            self._in_force(entry.time, entry, entry.generation)
        elif entry.ends:
            self._nothing(entry.time, entry)
        elif entry.origin in {"repair", "drift"} and self._now.cause == DRIFT:
            self._cut(entry.time, cause="")
        if entry.origin in {"pause", "resume"}:
            self._cut(entry.time, paused=entry.paused, paused_by=entry)

    def _look_back(self, entry: Entry) -> None:
        """Take what the record says of the time before it."""
        in_force = not self._now.cause
        if in_force and entry.origin == "repair" and entry.since:
            self._cut(entry.since, cause=DRIFT, by=entry)
        elif in_force and entry.put_in_force and not entry.previous_generation and entry.origin != "undo":
            # The kernel held nothing any more: since the machine started, or at some time after the last record.
            self._cut(max(entry.since, self._last), cause=EMPTY, by=entry)

    def _watch(self, entry: Entry) -> None:
        """Keep what the kernel goes back to if nobody confirms what this record puts in force."""
        if entry.confirm and not (self._deadline and self._now.digest == entry.digest):
            self._before = self._now
        self._deadline = entry.confirm

    def _undo_by(self, now: float) -> None:
        """Go back to what was before a load if its deadline has passed by `now`."""
        if self._deadline and now >= self._deadline:
            deadline, self._deadline = self._deadline, 0
            before = self._before
            # If there was nothing, the load that nobody confirmed is responsible for the gap.
            cause, by = ("undo", self._now.by) if before.cause else ("", before.by)
            known = {"generation": before.generation, "digest": before.digest, "drops": before.drops}
            self._cut(deadline, cause=cause, by=by, **known)

    def _undone(self, entry: Entry) -> None:
        self._deadline = 0
        at = entry.since or entry.time
        if entry.digest:
            # Nobody has loaded it again: it may be in force under the number that it had.
            known = self._now if self._now.digest == entry.digest else self._before
            self._in_force(at, entry, entry.generation or known.generation)
        else:
            self._nothing(at, entry)

    def _in_force(self, at: float, entry: Entry, generation: int) -> None:
        # A pause or a repair of the same ruleset is not responsible for what the ruleset does not drop.
        if self._loaded is None or self._loaded.digest != entry.digest:
            self._loaded = entry
        drops = self._drops.get(entry.digest)
        self._cut(at, cause="", by=self._loaded, generation=generation, digest=entry.digest, drops=drops)

    def _nothing(self, at: float, entry: Entry) -> None:
        self._deadline = 0
        self._cut(at, cause=entry.origin, by=entry, generation=0, digest="", drops=())

    def _cut(self, at: float, **changes: Any) -> None:  # noqa: ANN401 - fields of Stretch
        """End the stretch at a moment, and begin one that differs. A clock that went back counts as standing still."""
        at = max(at, self._now.start)
        if at > self._now.start:
            self._done.append(replace(self._now, end=at))
        self._now = replace(self._now, start=at, **changes)


def spans(found: Iterable[Stretch], service: str, line: str, since: float) -> list[Span]:
    """Return what is true of a line of a service since a moment; what follows with the same cause is one span."""
    joined: list[Span] = []
    for stretch in found:
        if stretch.end <= since:
            continue
        for one in replace(stretch, start=max(stretch.start, since)).spans(service, line):
            last = joined[-1] if joined else None
            # Who made it so matters for a gap only.
            if last and last.cause == one.cause and (not one.cause or last.by == one.by):
                joined[-1] = last._replace(end=one.end)
            else:
                joined.append(one)
    return joined
