"""What was in force when, who asked for it, and what failed: history.jsonl, a JSON object a line, oldest first.

A line is appended and synced after each change and each failed attempt, so a line only reports what has happened. A
power cut can truncate the last line: it is ignored. Other unreadable lines are ignored and counted. A failed write does
not undo the change: the line is kept in /run (state.unwritten) and read with the others.

Years of history take tens of megabytes as objects, so a search reads them entry by entry.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from geodrop.errors import GeodropError
from geodrop.inputs import open_regular
from geodrop.ruleset.fields import (
    LAST_MOMENT,
    Bounds,
    Field,
    Invalid,
    decode,
    listing,
    number,
    optional,
    record,
    text,
    whole,
)
from geodrop.state import files
from geodrop.state.asker import MAX_NAME
from geodrop.state.room import Room
from geodrop.state.unwritten import Unwritten

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

Glance = tuple[int, tuple["Entry", ...], tuple[str, float]]
"""The number of unreadable lines, the last entry of each kind, and the digest in force with its start time."""

DONE, FAILED = "done", "failed"

MAX_WHY = 1_000
"""Most characters of a reason given by a person: it is in each line, and shown in each status."""
MAX_BYTES = 16 << 20
"""Most bytes of the file: some 30,000 changes, which take 0.2 s to read."""
MAX_TEXT = 2000
"""Most characters of each text from outside."""

ORIGINS = (
    "load",
    "reload",
    "confirm",
    "undo",
    "rollback",
    "boot",
    "pause",
    "resume",
    "unload",
    "exempt",
    "repair",
    "compact",
    "schedule",
)
"""The operations that make a change."""

MAX_LINE = 1 << 20
"""Most bytes of a line. A longer line names more inputs than a compile takes, or was written by another program."""

MAX_GENERATION = 1 << 48


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Who asked for a change and why: `origin` is one of ORIGINS, `uid` the user's number.

    `change` says in one line what it changes, if that is known; `why` is a reason given by a person. `sudo_user` is the
    user who became root to ask for it (state.asker). A load or reload that is not confirmed within `confirm_within`
    seconds is undone (0: it need not be confirmed).
    """

    origin: str
    uid: int
    change: str = ""
    why: str = ""
    sudo_user: str = ""
    confirm_within: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, or one failed attempt.

    `time` is when it ended, in seconds since the epoch, `seconds` how long it took. `generation` is the number it was
    given, `digest` its ruleset; 0 and "" if it failed before it had them, or removed everything. `target` is the
    generation whose ruleset a rollback brought back. Until `paused`, in seconds since the epoch, services only count. A
    load that had to be confirmed had until `confirm`, in seconds since the epoch.
    `inputs` are the files the ruleset was made from, each with kind, name, sha256 and build_epoch.
    """

    time: float
    origin: str
    outcome: str
    uid: int
    generation: int = 0
    digest: str = ""
    seconds: float = 0.0
    change: str = ""
    why: str = ""
    error: str = ""
    target: int = 0
    paused: int = 0
    confirm: int = 0
    sudo_user: str = ""
    inputs: tuple[dict[str, Any], ...] = ()

    @property
    def put_in_force(self) -> bool:
        """Whether this change put a generation in force."""
        return self.outcome == DONE and self.generation > 0 and bool(self.digest)


@dataclass(slots=True)
class Attempt:
    """What a change records about itself while it runs; see Entry. If `made` stays False, nothing is recorded."""

    generation: int = 0
    digest: str = ""
    change: str = ""
    target: int = 0
    paused: int = 0
    confirm: int = 0
    inputs: Sequence[dict[str, Any]] = field(default_factory=tuple)
    made: bool = False


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
            self.append(_entry(asked, attempt, FAILED, started, _said_of(error)))
            raise
        if attempt.made:
            self.append(_entry(asked, attempt, DONE, started))

    def append(self, entry: Entry) -> None:
        """Add an entry, after those that could not be written before; if that fails, keep it in /run."""
        line = _line(entry)
        try:
            self._append([*self._unwritten.read().lines, line.decode()])
        except GeodropError as error:
            self._unwritten.hold(error, line=line.decode())

    def write_back(self) -> None:
        """Write the entries that could not be written before, if there are any. Raises PrivilegeError or ApplyError."""
        if lines := self._unwritten.read().lines:
            self._append(lines)

    def _append(self, lines: Sequence[str]) -> None:
        self._room.write(lambda: files.append(self.path, "\n".join(lines).encode()))
        self._unwritten.done(lines=True)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over all readable entries, oldest first."""
        return (entry for entry in self._parsed() if entry)

    def entries(self) -> list[Entry]:
        """Return all readable entries, oldest first."""
        return list(self)

    def recent(self) -> tuple[Entry, ...]:
        """Return for each origin the last entry that put a generation in force and the last other one, newest last."""
        return self._glance()[1]

    def since(self, digest: str) -> float | None:
        """Return since when a ruleset is in force, in seconds since the epoch; None if it is not the last put in force.

        Repairs and boots that brought the same ruleset back do not count.
        """
        found, time_of = self._glance()[2]
        return time_of if digest and digest == found else None

    def unreadable(self) -> int:
        """Return how many lines cannot be read; 1 if the whole file cannot be read."""
        return self._glance()[0]

    def _glance(self) -> Glance:
        """Return what each status and each scrape needs; a file is read again only after it has changed."""
        held = self._unwritten.read().lines
        unwritten = [_parse(line.encode()) for line in held]
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
        count = self.unreadable()
        if not count:
            return []
        try:
            os.close(open_regular(self.path))
        except OSError as error:
            return [f"{self.path}: cannot be read ({error.strerror}); `rollback` has nothing to go back to"]
        lines = "line" if count == 1 else "lines"
        return [f"{self.path}: {count} {lines} cannot be read, and left out of the history"]

    def prune(self, seconds: int, needed: Collection[str], limit: int = MAX_BYTES) -> None:
        """Remove entries older than `seconds`, and the oldest ones beyond `limit` bytes.

        The entry that last put in force a digest of `needed` stays. The whole file is rewritten for this, so it is not
        done with each change, but only once the first entry is older by an eighth, or the file exceeds the limit.

        Raises PrivilegeError or ApplyError.
        """
        oldest = time.time() - seconds
        try:
            with open(open_regular(self.path), "rb") as file:
                first, size = next(_lines(file), None), os.fstat(file.fileno()).st_size
        except OSError:
            return
        # Usually only the first line is read; more only if that line is old because it is still needed.
        if first and first.time >= oldest - seconds / 8 and size <= limit:
            return
        self.write_back()
        entries = self.entries()
        last = {entry.digest: entry for entry in entries if entry.put_in_force and entry.digest in needed}
        room = limit - limit // 8
        kept: list[bytes] = []
        for entry in reversed(entries):
            line = _line(entry) + b"\n"
            room -= len(line)
            if (entry.time >= oldest and room >= 0) or last.get(entry.digest) is entry:
                kept.append(line)
        if len(kept) < len(entries):
            content = b"".join(reversed(kept))
            files.replace(self.path, lambda file: file.write(content))

    def _parsed(self) -> Iterator[Entry | None]:
        """Yield each whole line's entry; None for an unreadable line, and for an unreadable file."""
        try:
            with open(open_regular(self.path), "rb") as file:
                yield from _lines(file)
        except FileNotFoundError:
            pass
        except OSError:
            yield None
        yield from (_parse(line.encode()) for line in self._unwritten.read().lines)


_glanced: dict[tuple[object, ...], Glance] = {}
"""The result for the file that was read last, by the file's identity."""


def _condensed(entries: Iterable[Entry | None]) -> Glance:
    unreadable, last, since = 0, dict[tuple[str, bool], Entry](), ("", 0.0)
    for entry in entries:
        if entry is None:
            unreadable += 1
            continue
        key = entry.origin, entry.put_in_force
        last.pop(key, None)  # the newest goes to the end
        last[key] = entry
        if entry.put_in_force and entry.digest != since[0]:
            since = entry.digest, entry.time
        elif entry.outcome == DONE and entry.origin in {"unload", "undo"}:
            since = "", entry.time
    return unreadable, tuple(last.values()), since


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
    )


def _line(entry: Entry) -> bytes:
    content = {name: value for name, value in asdict(entry).items() if value not in ("", 0, ())}
    content |= {name: content[name][:MAX_TEXT] for name in ("change", "why", "error") if name in content}
    line = json.dumps(content, separators=(",", ":")).encode()
    return line if len(line) < MAX_LINE else json.dumps(content | {"inputs": ()}, separators=(",", ":")).encode()


def _lines(file: IO[bytes]) -> Iterator[Entry | None]:
    """Yield the entry of each whole line, None for an unreadable one; at most MAX_LINE bytes are held at a time."""
    while line := file.readline(MAX_LINE):
        whole_line = line
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        # A last line without an end was cut off by a crash.
        if line:
            yield _parse(whole_line)


ANY = re.compile(".*", re.DOTALL)
DIGEST = re.compile("[0-9a-z]*")  # it names a file

_WORD = text(32, re.compile("[a-z-]+"))
_TEXT = text(MAX_TEXT, ANY)
_GENERATION = whole(0, MAX_GENERATION)
_MOMENT = whole(0, LAST_MOMENT)
_INPUT: Field[dict[str, Any]] = record(
    dict,
    ("kind", "name", "sha256", "database_type", "build_epoch"),
    others=True,
    kind=_WORD,
    name=text(4_096, ANY),
    sha256=text(64, DIGEST),
    database_type=optional(text(1_024, ANY)),
    build_epoch=optional(_MOMENT),
)
ENTRY = record(
    partial(Entry, uid=0),
    (
        "uid",
        "generation",
        "digest",
        "seconds",
        "change",
        "why",
        "error",
        "target",
        "paused",
        "confirm",
        "sudo_user",
        "inputs",
    ),
    others=True,
    time=number(0, LAST_MOMENT),
    origin=_WORD,
    outcome=_WORD,
    uid=whole(0, (1 << 32) - 1),
    generation=_GENERATION,
    digest=text(64, DIGEST),
    seconds=number(0, LAST_MOMENT),
    change=_TEXT,
    why=_TEXT,
    error=_TEXT,
    target=_GENERATION,
    paused=_MOMENT,
    confirm=_MOMENT,
    sudo_user=text(MAX_NAME, ANY),
    inputs=listing(_INPUT, 2_048),
)
"""The form of a line. Keys that a later version added are ignored."""

_BOUNDS = Bounds(MAX_LINE, 20_000)


def _parse(line: bytes) -> Entry | None:
    """Return a line's entry; None if it is invalid."""
    try:
        return ENTRY(decode(line, _BOUNDS))
    except Invalid:
        return None
