# SPDX-License-Identifier: Apache-2.0
"""What was in force when, who asked for it, and what failed: history.jsonl, a JSON object a line, oldest first.

A line is appended and synced after each change and each failed attempt, so a line only reports what has happened. Each
names the hash of the line before (state.chain), and its own hash goes to the journal (state.announce). No line is ever
changed; the oldest are removed (`prune`), and a record says which.

A power cut can truncate the last line: it is ignored, the next line takes its place and says so. Other unreadable lines
are ignored and counted. A failed write does not undo the change: the line is kept in /run (state.unwritten) and read
with the others.

Years of history take tens of megabytes as objects, so a search reads them entry by entry.
"""

from __future__ import annotations

import contextlib
import os
import time
from itertools import chain
from typing import IO, TYPE_CHECKING, NamedTuple

from geodrop import formats
from geodrop.errors import GeodropError, HeldError
from geodrop.inputs import open_regular
from geodrop.state import files, prune
from geodrop.state.announce import Announcement, announce
from geodrop.state.chain import ChainLine, ChainLink, digest_of, end_of, waiting
from geodrop.state.chain import lines as chained
from geodrop.state.entry import DONE, FAILED, HELD, MAX_LINE, Attempt, Entry, line_of, parse
from geodrop.state.names import MAX_TEXT
from geodrop.state.room import Room
from geodrop.state.unwritten import Unwritten

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from geodrop.state.entry import ChangeRequest


class Glance(NamedTuple):
    """What is needed often: the number of unreadable lines, the latest format of a newer geodrop's records (0 if there
    are none), the last entry of each kind, and the digest in force with its start time.
    """

    unreadable: int
    newer: int
    last: tuple[Entry, ...]
    since: tuple[str, float]


MAX_BYTES = 16 << 20
"""Most bytes of the file: some 30,000 changes, which take 0.2 s to read."""


class History:
    """The history in one state directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten = Unwritten(path.parent)
        self._room = Room(path.parent)

    @contextlib.contextmanager
    def attempt(self, asked: ChangeRequest) -> Iterator[Attempt]:
        """Record what the body does: that it was `made`, or how it failed. Failing to record it is no failure."""
        started, attempt = time.monotonic(), Attempt()
        try:
            yield attempt
        except BaseException as error:
            outcome = HELD if isinstance(error, HeldError) else FAILED
            self.append(_entry(asked, attempt, outcome, started, _said_of(error)))
            raise
        if attempt.made:
            self.append(_entry(asked, attempt, DONE, started))

    def append(self, entry: Entry) -> None:
        """Add an entry, after those that could not be written before; if that fails, keep it in /run."""
        before, end = self._waiting()
        made = end.next(entry) if end else entry
        line = line_of(made)
        try:
            self._append([*before, line])
        except GeodropError as error:
            self._unwritten.hold(error, line=line.decode())
        if end is not None:
            self._announce(line, made)

    def write_back(self) -> None:
        """Write the entries that could not be written before, if there are any. Raises PrivilegeError or ApplyError."""
        held = self._unwritten.read().lines
        if not held:
            return
        before, _ = self._waiting()
        self._append(before)
        for line in before:
            if line.decode() not in held and (entry := parse(line)):
                self._announce(line, entry)

    def chain(self) -> Iterator[ChainLine]:
        """Yield each line of the file with its hash, then those that wait in /run. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), open(open_regular(self.path), "rb") as file:
            yield from chained(file)
        for line in waiting(self._unwritten.read().lines, end_of(self.path))[0]:
            yield ChainLine(line, digest_of(line), len(line), whole=True)

    def _waiting(self) -> tuple[list[bytes], ChainLink | None]:
        """Return the lines that are to be written before the next one, and the end of the chain after them.

        The end is None if the file cannot be read: the next line then has no number until it is written.
        """
        held = self._unwritten.read().lines
        try:
            return waiting(held, end_of(self.path))
        except OSError:
            return [line.encode() for line in held], None

    def _append(self, lines: list[bytes]) -> None:
        if lines:
            self._room.write(lambda: files.append(self.path, b"\n".join(lines)))
        self._unwritten.done(lines=True)

    def _announce(self, line: bytes, entry: Entry) -> None:
        announce(Announcement(self.path.parent, digest_of(line), entry))

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over all readable entries, oldest first."""
        return (entry for entry in self._parsed() if entry)

    def entries(self) -> list[Entry]:
        """Return all readable entries, oldest first."""
        return list(self)

    def recent(self) -> tuple[Entry, ...]:
        """Return for each origin the last entry that put a generation in force and the last other one, newest last."""
        return self._glance().last

    def since(self, digest: str) -> float | None:
        """Return since when a ruleset is in force, in seconds since the epoch; None if it is not the last put in force.

        Repairs and boots that brought the same ruleset back do not count.
        """
        found, time_of = self._glance().since
        return time_of if digest and digest == found else None

    def unreadable(self) -> int:
        """Return how many lines cannot be read; 1 if the whole file cannot be read."""
        return self._glance().unreadable

    def newer(self) -> int:
        """Return the latest format of records that a newer geodrop wrote; 0 if there are none."""
        return self._glance().newer

    def _glance(self) -> Glance:
        """Return what each status and each scrape needs; a file is read again only after it has changed."""
        held = self._unwritten.read().lines
        unwritten = [parse(line) for line in self._waiting()[0]] if held else []
        try:
            with open(open_regular(self.path), "rb") as file:
                found = os.fstat(file.fileno())
                file_is = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, *held)
                if (glance := _glanced.get(file_is)) is None:
                    glance = _condensed(chain(_lines(file), unwritten))
                    _glanced.clear()
                    _glanced[file_is] = glance
                return glance
        except FileNotFoundError:
            return _condensed(unwritten)
        except OSError:
            return _condensed([None, *unwritten])

    def problems(self) -> list[str]:
        """Return a line of text if something cannot be read, else an empty list."""
        count, newer = self.unreadable(), self.newer()
        if newer:
            said = f"{self.path}: has records {formats.by_newer(newer)}: `rollback` may not know the policy before"
            return [f"{said}; next: {formats.UPGRADE}, or go on by: geodrop reload"]
        if not count:
            return []
        try:
            os.close(open_regular(self.path))
        except OSError as error:
            return [f"{self.path}: cannot be read ({error.strerror}); `rollback` has nothing to go back to"]
        lines = "line" if count == 1 else "lines"
        return [f"{self.path}: {count} {lines} cannot be read, and left out of the history"]

    def prune(self, seconds: int, needed: Collection[str], limit: int = MAX_BYTES) -> None:
        """Remove entries older than `seconds`, and the oldest ones beyond `limit` bytes; a record says which.

        What is needed to know what was in force afterwards stays (state.prune), as does the entry that last put in
        force a digest of `needed`. The whole file is rewritten for this, so it is not done with each change, but only
        once the first entry is older by an eighth, or the file exceeds the limit.

        Raises PrivilegeError or ApplyError.
        """
        if self.newer():
            return  # what a newer geodrop still needs is for it to say
        oldest = time.time() - seconds
        try:
            with open(open_regular(self.path), "rb") as file:
                first, size = next(_lines(file), None), os.fstat(file.fileno()).st_size
            # Usually only the first line is read; more only if that line is old because it is still needed.
            if first and first.time >= oldest - seconds / 8 and size <= limit:
                return
            self.write_back()
            with open(open_regular(self.path), "rb") as file:
                left = prune.left(chained(file), oldest, limit - limit // 8 if size > limit else limit, needed)
            if left is None or (size <= limit and left.since >= oldest - seconds / 8):
                return
            entry = Entry(round(time.time(), 3), "prune", DONE, os.geteuid(), change=left.text, pruned=left.pruned)
            made = end_of(self.path).next(entry)
        except OSError:
            return
        line = line_of(made)
        files.replace(self.path, lambda file: file.write(b"".join([*left.lines, line, b"\n"])))
        self._announce(line, made)

    def _parsed(self) -> Iterator[Entry | None]:
        """Yield each whole line's entry; None for an unreadable line, and for an unreadable file."""
        try:
            with open(open_regular(self.path), "rb") as file:
                yield from _lines(file)
        except FileNotFoundError:
            pass
        except OSError:
            yield None
        if self._unwritten.read().lines:
            yield from (parse(line) for line in self._waiting()[0])


_glanced: dict[tuple[object, ...], Glance] = {}
"""The result for the file that was read last, by the file's identity."""


def _condensed(entries: Iterable[Entry | None]) -> Glance:
    unreadable, newer, last, since = 0, 0, dict[tuple[str, bool], Entry](), ("", 0.0)
    for entry in entries:
        if entry is None:
            unreadable += 1
            continue
        if entry.newer:
            newer, since = max(newer, entry.newer), ("", 0.0)
            continue
        key = entry.origin, entry.put_in_force
        last.pop(key, None)  # the newest goes to the end
        last[key] = entry
        if entry.put_in_force and entry.digest != since[0]:
            since = entry.digest, entry.time
        elif entry.ends:
            since = "", entry.time
    return Glance(unreadable, newer, tuple(last.values()), since)


def policies(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that `rollback` steps through: one for each policy, oldest first.

    A rollback removes the steps that it went back over, so that the next one goes further back. Other operations that
    put a ruleset in force, such as a pause or a boot, bring back one that was in force before, and are no steps. A load
    that has to be confirmed is a step once it is.
    """
    steps: list[Entry] = []
    for entry in entries:
        if not entry.put_in_force or entry.origin not in {"load", "reload", "confirm", "rollback"} or entry.confirm:
            continue
        target = entry.target if entry.origin == "rollback" else 0
        if target and target in (numbers := [step.generation for step in steps]):
            del steps[numbers.index(target) + 1 :]
        elif not steps or steps[-1].digest != entry.digest:
            steps.append(entry)
    return steps


def _said_of(error: BaseException) -> str:
    """Return the text that records a failure: message and next step, or for a bug the exception's name."""
    return str(error) if isinstance(error, GeodropError) else type(error).__name__


def _entry(asked: ChangeRequest, attempt: Attempt, outcome: str, started: float, error: str = "") -> Entry:
    return Entry(
        time=round(time.time(), 3),
        origin=asked.origin,
        outcome=outcome,
        uid=asked.uid,
        generation=attempt.generation,
        digest=attempt.digest,
        seconds=round(time.monotonic() - started, 3),
        change=(attempt.change or asked.change)[:MAX_TEXT],
        why=asked.why[:MAX_TEXT],
        error=error[:MAX_TEXT],
        target=attempt.target,
        paused=attempt.paused,
        confirm=attempt.confirm,
        sudo_user=asked.sudo_user,
        inputs=tuple(attempt.inputs),
        previous_generation=attempt.previous_generation,
        previous_digest=attempt.previous_digest,
        accept=asked.accept,
        since=asked.since,
        drops=attempt.drops,
        signed_by=attempt.signed_by,
        signed_key=attempt.signed_key,
        compiled=attempt.compiled,
    )


def _lines(file: IO[bytes]) -> Iterator[Entry | None]:
    """Yield the entry of each whole line, None for an unreadable one; at most MAX_LINE bytes are held at a time."""
    while line := file.readline(MAX_LINE):
        whole_line = line
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        # A last line without an end was cut off by a crash.
        if line:
            yield parse(whole_line)
