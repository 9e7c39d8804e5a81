"""The state directory: every ruleset that was loaded, what happened, and what the operator last asked for.

    rulesets/DIGEST.ruleset   copies of loaded rulesets, found again by the digest that the kernel carries; what differs
                              from another in a few verdicts is thin (ruleset.container) and needs that one
    history.jsonl             every change and every failed attempt; see state.history
    intent.json               what was last asked for: an Intent

A damaged file is survived: the intent is found again in the history, the history goes on behind what cannot be read,
and a ruleset is kept again when it is next loaded. `problems` says what was found.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError, GeodropError
from geodrop.ruleset import container
from geodrop.ruleset.fields import LAST_MOMENT, Bounds, Invalid, decode, flag, record, text, whole
from geodrop.state import files
from geodrop.state.history import ANY, DIGEST, MAX_GENERATION, MAX_TEXT, History, policies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from geodrop.state.history import Entry

FOREVER = 4_102_444_800
"""The year 2100, in seconds since the epoch: until then is until somebody says otherwise."""

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Intent:
    """What was last asked for.

    `generation` is the highest number ever given out, `digest` the ruleset that was loaded last and `last_good` the one
    that a boot brings back; "" before the first load. Until `paused` (seconds since the epoch; 0: not paused) services
    only count, because of `why`. `rolled_back`: what is in force is older than what the sources say, and only who
    explicitly asks for those gets them.
    """

    generation: int = 0
    digest: str = ""
    unloaded: bool = False
    paused: int = 0
    why: str = ""
    last_good: str = ""
    rolled_back: bool = False

    def paused_at(self, now: float) -> bool:
        """Whether services only count at a moment, in seconds since the epoch."""
        return now < self.paused


def _intent(digest: str, last_good: str | None = None, **rest: Any) -> Intent:  # noqa: ANN401 - fields of Intent
    # Files of versions that knew no other ruleset to go back to have no such key.
    return Intent(digest=digest, last_good=digest if last_good is None else last_good, **rest)


INTENT = record(
    _intent,
    ("paused", "why", "last_good", "rolled_back"),
    others=True,
    generation=whole(0, MAX_GENERATION),
    digest=text(64, DIGEST),
    unloaded=flag,
    paused=whole(0, LAST_MOMENT),
    why=text(MAX_TEXT, ANY),
    last_good=text(64, DIGEST),
    rolled_back=flag,
)
"""What intent.json may say. What a later version added is left out."""

_BOUNDS = Bounds(size=1 << 17, values=100)


class Store:
    """One state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = History(folder / "history.jsonl")

    def intent(self) -> Intent:
        """What was last asked for; from the history where the file cannot be read, and nothing where there is none."""
        return self._read_intent() or recovered(self.history)

    def remember(self, intent: Intent) -> None:
        """Write what was asked for; raises PrivilegeError or ApplyError (disk full)."""
        content = json.dumps(asdict(intent) | {"why": intent.why[:MAX_TEXT]}).encode()
        files.replace(self._intent_file, lambda file: file.write(content))

    @property
    def rulesets(self) -> Path:
        """The folder of the copies."""
        return self.folder / "rulesets"

    def ruleset_path(self, digest: str) -> Path:
        """Where the ruleset of a digest is kept; the file need not exist."""
        return self.rulesets / f"{digest}.ruleset"

    def keep(self, file: container.Container | None) -> None:
        """Keep a copy of a ruleset's file, just as it was checked, and of its base; in place of one that is damaged.

        Raises PrivilegeError or ApplyError.
        """
        if file is None or file.memory is None or self._is_kept(file.digest):
            return
        self.keep(file.base)
        files.replace(self.ruleset_path(file.digest), file.memory.write_to)

    def keep_bytes(self, content: bytes, digest: str) -> None:
        """Keep a ruleset that has no file; raises PrivilegeError or ApplyError."""
        files.replace(self.ruleset_path(digest), lambda file: file.write(content))

    def retire(self, digest: str) -> None:
        """Note that a ruleset has just ceased to be in force; `prune` counts from here.

        Not again within a minute: a file that shows another time is hashed again, and for `prune` that is near enough.
        """
        path = self.ruleset_path(digest)
        if time.time() - _retired(path) > MINUTE:
            with suppress(OSError):
                os.utime(path)

    def prune(self, seconds: int, needed: set[str]) -> None:
        """Forget what has not been in force for this long; what cannot be removed is left to the next time.

        Never the needed digests, the last good one, or what `rollback` would go back to.
        """
        files.sweep(self.folder)
        files.sweep(self.rulesets)
        oldest = time.time() - seconds
        kept = list(self.rulesets.glob("*.ruleset"))
        intent = self.intent()
        needed = needed | {intent.digest, intent.last_good}
        old = [path for path in kept if path.stem not in needed and _retired(path) < oldest]
        # The history is long, and most changes leave nothing to forget.
        needed |= {step.digest for step in policies(self.history)[-2:]} if old else set()
        gone = {path for path in old if path.stem not in needed}
        bases = {container.base_path(path) for path in kept if path not in gone} if gone else set()
        for path in gone:
            if str(path) not in bases:
                with suppress(OSError):
                    path.unlink()
        with suppress(GeodropError):
            self.history.prune(seconds, needed)

    def problems(self) -> list[str]:
        """What is damaged, a line each, with what follows from it."""
        found = []
        if unreadable := self.history.unreadable():
            found.append(f"{self.history.path}: {unreadable} lines cannot be read; they are missing from the history")
        intent = self.intent()
        # It is missing by right where nothing was ever asked for but in vain.
        if self._read_intent() is None and (self._intent_file.exists() or intent != Intent()):
            found.append(f"{self._intent_file}: cannot be read; the history is used in its place until the next load")
        last_good = intent.last_good
        path = str(self.ruleset_path(last_good))
        missing = [file for file in (path, container.base_path(path)) if file and not os.path.exists(file)]
        found += [f"{file}: the last good ruleset is missing: load it again" for file in missing if last_good]
        return found

    def _is_kept(self, digest: str) -> bool:
        try:
            return container.open_file(self.ruleset_path(digest)).digest == digest
        except DataError:
            return False

    @property
    def _intent_file(self) -> Path:
        return self.folder / "intent.json"

    def _read_intent(self) -> Intent | None:
        try:
            return INTENT(decode(files.read(self._intent_file, _BOUNDS.size), _BOUNDS))
        except (OSError, Invalid):
            return None


def recovered(entries: Iterable[Entry]) -> Intent:
    """The intent that a history leads to."""
    content: dict[str, Any] = {}
    for entry in entries:
        content["generation"] = max(content.get("generation", 0), entry.generation)
        if entry.outcome == "done":
            content |= dict(_consequences(entry))
    return Intent(**content)


def _consequences(entry: Entry) -> Iterator[tuple[str, Any]]:
    if entry.put_in_force:
        yield from (("digest", entry.digest), ("unloaded", False))
    if entry.put_in_force and entry.origin != "boot":
        yield "last_good", entry.digest
    match entry.origin:
        case "unload":
            yield "unloaded", True
        case "rollback" | "load" | "reload":
            yield "rolled_back", entry.origin == "rollback"
        case "pause" | "resume":
            yield from (("paused", entry.paused), ("why", entry.why))


def _retired(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
