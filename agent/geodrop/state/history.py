"""What was in force when, who asked for it, and what failed: history.jsonl, a JSON object a line, oldest first.

A line is appended and synced after each change and each failed attempt, so it never says more than happened. A power
cut can tear the last line: it is left out. Other lines that cannot be read are left out too, and counted. What happened
has happened: a line that cannot be written is kept in /run (state.unwritten), and is read with the others.

Years of it are tens of megabytes as objects, so who only looks for something goes through it entry by entry.
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
"""How many lines cannot be read, the last entry of each kind, and which digest is in force since when."""

DONE, FAILED = "done", "failed"

MAX_WHY = 1_000
"""Characters of what a person may write: it stands in each line, and is shown in each status."""
MAX_BYTES = 16 << 20
"""Of the file: some 30,000 changes, which take 0.2 s to go through."""
MAX_TEXT = 2000
"""Characters of each text that somebody else chose."""

ORIGINS = ("load", "reload", "rollback", "boot", "pause", "resume", "unload", "repair", "compact", "schedule")
"""What brings a change about."""

MAX_LINE = 1 << 20
"""Bytes. A line is longer only where it names more inputs than a compile takes, or somebody made it so."""

MAX_GENERATION = 1 << 48


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Who asked for a change and why: `origin` is one of ORIGINS, `uid` the user's number.

    `change` says in one line what it changes, where that is known; `why` is what a person wrote. `sudo_user` is who
    became root to ask for it (state.asker).
    """

    origin: str
    uid: int
    change: str = ""
    why: str = ""
    sudo_user: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, or one attempt.

    `time` is when it was over, in seconds since the epoch, `seconds` how long it took. `generation` is the number it
    was given, `digest` its ruleset; 0 and "" where it came to neither, or took everything away. `target` is the
    generation whose ruleset a rollback brought back, `paused` until when services only count, in seconds since the
    epoch. `inputs` is what the ruleset was made from, each with kind, name, sha256 and build_epoch.
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
    sudo_user: str = ""
    inputs: tuple[dict[str, Any], ...] = ()

    @property
    def put_in_force(self) -> bool:
        """Whether a generation is in force since then."""
        return self.outcome == DONE and self.generation > 0 and bool(self.digest)


@dataclass(slots=True)
class Attempt:
    """What is filled in while a change is under way; see Entry. Without `made` nothing is written down."""

    generation: int = 0
    digest: str = ""
    change: str = ""
    target: int = 0
    paused: int = 0
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
        """Write down what the body does: that it was `made`, or how it failed. Not being able to is no failure."""
        started, attempt = time.monotonic(), Attempt()
        try:
            yield attempt
        except BaseException as error:
            self.append(_entry(asked, attempt, FAILED, started, _said_of(error)))
            raise
        if attempt.made:
            self.append(_entry(asked, attempt, DONE, started))

    def append(self, entry: Entry) -> None:
        """Add an entry, after those that could not be written before; or keep it until it can be."""
        line = _line(entry)
        try:
            self._append([*self._unwritten.read().lines, line.decode()])
        except GeodropError as error:
            self._unwritten.hold(error, line=line.decode())

    def write_back(self) -> None:
        """Write what could not be written before, if there is any; raises PrivilegeError or ApplyError."""
        if lines := self._unwritten.read().lines:
            self._append(lines)

    def _append(self, lines: Sequence[str]) -> None:
        self._room.write(lambda: files.append(self.path, "\n".join(lines).encode()))
        self._unwritten.done(lines=True)

    def __iter__(self) -> Iterator[Entry]:
        """All that can be read, oldest first."""
        return (entry for entry in self._parsed() if entry)

    def entries(self) -> list[Entry]:
        """The same, all at once."""
        return list(self)

    def recent(self) -> tuple[Entry, ...]:
        """The last entry of each origin that put something in force, and the last that did not; the newest last."""
        return self._glance()[1]

    def since(self, digest: str) -> float | None:
        """Since when a ruleset is in force, whatever was mended meanwhile; None where another one was put there last.

        In seconds since the epoch.
        """
        found, time_of = self._glance()[2]
        return time_of if digest and digest == found else None

    def unreadable(self) -> int:
        """How many lines cannot be read; one, if none of them can."""
        return self._glance()[0]

    def _glance(self) -> Glance:
        """What each status and each scrape asks for: as long as the file is the same it is gone through once."""
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
        """What cannot be read, a line."""
        count = self.unreadable()
        if not count:
            return []
        try:
            os.close(open_regular(self.path))
        except OSError as error:
            return [f"{self.path}: cannot be read ({error.strerror}); `rollback` knows nothing to go back to"]
        lines = "line" if count == 1 else "lines"
        return [f"{self.path}: {count} {lines} cannot be read, and missing from the history"]

    def prune(self, seconds: int, needed: Collection[str], limit: int = MAX_BYTES) -> None:
        """Forget entries older than this, and the oldest beyond `limit` bytes; raises PrivilegeError or ApplyError.

        But not where a ruleset that is still needed, given by its digest, was last put in force; and not before the
        first one is older by an eighth, or the file longer: all is written anew, which must not be so with each change.
        """
        oldest = time.time() - seconds
        try:
            with open(open_regular(self.path), "rb") as file:
                first, size = next(_lines(file), None), os.fstat(file.fileno()).st_size
        except OSError:
            return
        # A line that is still needed stays, however old it is: only then is more read than the first one.
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
        """Each whole line; None for one that cannot be read, and for a file that cannot be."""
        try:
            with open(open_regular(self.path), "rb") as file:
                yield from _lines(file)
        except FileNotFoundError:
            pass
        except OSError:
            yield None
        yield from (_parse(line.encode()) for line in self._unwritten.read().lines)


_glanced: dict[tuple[object, ...], Glance] = {}
"""The last file that was gone through, by what tells it from every other, and what was found."""


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
        elif entry.outcome == DONE and entry.origin == "unload":
            since = "", entry.time
    return unreadable, tuple(last.values()), since


def policies(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that `rollback` steps through: one a policy, oldest first, the last one the newest.

    A rollback takes away what it went back over, so that the next one goes further back. What else puts a ruleset in
    force, such as a pause or a boot, brings none that was not there before, and is no step.
    """
    steps: list[Entry] = []
    for entry in entries:
        if not entry.put_in_force or entry.origin not in {"load", "reload", "rollback"}:
            continue
        target = entry.target if entry.origin == "rollback" else 0
        if target and target in (numbers := [step.generation for step in steps]):
            del steps[numbers.index(target) + 1 :]
        elif not steps or steps[-1].digest != entry.digest:
            steps.append(entry)
    return steps


def _said_of(error: BaseException) -> str:
    """What to write down of a failure: its message and next step, or the name of what must be a bug."""
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
        sudo_user=asked.sudo_user,
        inputs=tuple(attempt.inputs),
    )


def _line(entry: Entry) -> bytes:
    content = {name: value for name, value in asdict(entry).items() if value not in ("", 0, ())}
    content |= {name: content[name][:MAX_TEXT] for name in ("change", "why", "error") if name in content}
    line = json.dumps(content, separators=(",", ":")).encode()
    return line if len(line) < MAX_LINE else json.dumps(content | {"inputs": ()}, separators=(",", ":")).encode()


def _lines(file: IO[bytes]) -> Iterator[Entry | None]:
    """Each whole line, None for one that cannot be read; never more of one than a line may have."""
    while line := file.readline(MAX_LINE):
        whole_line = line
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        # The last one, without an end, was cut off by a crash.
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
    ("uid", "generation", "digest", "seconds", "change", "why", "error", "target", "paused", "sudo_user", "inputs"),
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
    sudo_user=text(MAX_NAME, ANY),
    inputs=listing(_INPUT, 2_048),
)
"""What a line may say. What a later version added is left out."""

_BOUNDS = Bounds(MAX_LINE, 20_000)


def _parse(line: bytes) -> Entry | None:
    """An entry; None if it is not one."""
    try:
        return ENTRY(decode(line, _BOUNDS))
    except Invalid:
        return None
