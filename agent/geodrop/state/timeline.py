"""What was in force from when to when, and why something was not, from the records of the history. Pure.

What a record does not tell counts as not in force: the time before the first record, what is dropped by a ruleset that
no record describes, the time since the last record if the kernel was then found empty.
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

    `digest` is the ruleset in force, which `drops` these; None if no record says what it drops. `cause` says why
    nothing was in force, "" if something was, and `by` is the record that made it so. Services only count until
    `paused`, because of the record `paused_by`.
    """

    start: float
    end: float = 0.0
    digest: str = ""
    drops: Sequence[EnforcedService] | None = ()
    cause: str = EMPTY
    by: Entry | None = None
    paused: float = 0.0
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


class _Timeline:
    """Goes through the records; `done` are the stretches that have ended, `now` the one that has not.

    `last` is the time of the last record; before `known` records were forgotten.
    """

    def __init__(self) -> None:
        self.done: list[Stretch] = []
        self.now = Stretch(0.0, cause=UNRECORDED)
        self.last = self.known = 0.0
        self._drops: dict[str, Sequence[EnforcedService]] = {}
        self._loaded: Entry | None = None

    def take(self, entry: Entry) -> None:
        """Take the next record."""
        if entry.digest and entry.drops:
            self._drops[entry.digest] = entry.drops
        if entry.pruned:
            self.known = max(self.known, entry.pruned.until)
        elif entry.outcome == DONE:
            self._change(entry)
        elif entry.origin in {"repair", "drift"}:
            self.cut(entry.since or entry.time, cause="drift", by=entry)
        self.last = max(self.last, entry.time)

    def _change(self, entry: Entry) -> None:
        self._before(entry)
        if entry.origin == "undo":
            self._undone(entry)
        elif entry.put_in_force:
            self._in_force(entry.time, entry)
        elif entry.origin == "unload":
            self.cut(entry.time, cause="unload", by=entry, digest="", drops=())
        elif entry.origin in {"repair", "drift"} and self.now.cause == "drift":
            self.cut(entry.time, cause="")
        if entry.origin in {"pause", "resume"}:
            self.cut(entry.time, paused=float(entry.paused), paused_by=entry)

    def _before(self, entry: Entry) -> None:
        """Take what the record says of the time before it."""
        in_force = not self.now.cause
        if in_force and entry.origin == "repair" and entry.since:
            self.cut(entry.since, cause="drift", by=entry)
        elif in_force and entry.put_in_force and not entry.previous_generation and entry.origin != "undo":
            # The kernel held nothing any more: since the machine started, or at some time after the last record.
            self.cut(max(entry.since, self.last), cause=EMPTY, by=entry)

    def _undone(self, entry: Entry) -> None:
        at = entry.since or entry.time
        if entry.digest:
            self._in_force(at, entry)
        else:
            self.cut(at, cause="undo", by=entry, digest="", drops=())

    def _in_force(self, at: float, entry: Entry) -> None:
        # A pause or a repair of the same ruleset is not responsible for what the ruleset does not drop.
        if self._loaded is None or self._loaded.digest != entry.digest:
            self._loaded = entry
        self.cut(at, cause="", by=self._loaded, digest=entry.digest, drops=self._drops.get(entry.digest))

    def cut(self, at: float, **changes: Any) -> None:  # noqa: ANN401 - fields of Stretch
        """End the stretch at a moment, and begin one that differs. A clock that went back counts as standing still."""
        at = max(at, self.now.start)
        if at > self.now.start:
            self.done.append(replace(self.now, end=at))
        self.now = replace(self.now, start=at, **changes)


def stretches(entries: Iterable[Entry], now: float, digest: str) -> Iterator[Stretch]:
    """Yield what was in force until `now`, in seconds since the epoch, without gaps and in order.

    The entries are oldest first. `digest` is the ruleset that the kernel holds now, "" if it holds none.
    """
    reader = _Timeline()
    for entry in entries:
        reader.take(entry)
    last = reader.now
    if not last.cause and last.digest != digest:
        reader.cut(reader.last, cause=OTHER if digest else EMPTY, by=None)
    reader.cut(now)
    if reader.known:
        yield Stretch(0.0, reader.known, cause=UNRECORDED)
    for one in reader.done:
        if one.end > reader.known:
            yield replace(one, start=max(one.start, reader.known))


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
