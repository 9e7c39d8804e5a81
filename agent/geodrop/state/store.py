"""The state directory: every ruleset that was loaded, what happened, and what the operator last asked for.

    rulesets/DIGEST.ruleset   copies of loaded rulesets, found again by the digest that the kernel carries; what differs
                              from another in a few verdicts is thin (ruleset.container) and needs that one
    history.jsonl             every change and every failed attempt; see state.history
    intent.json               what was last asked for: an Intent
    reserve                   room for the two above on a full disk; see state.room

A damaged file is survived: the intent is found again in the history, the history goes on behind what cannot be read,
and a ruleset is kept again when it is next loaded. What cannot be written is kept elsewhere (state.unwritten).
`problems` says what was found.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError, GeodropError
from geodrop.inputs import read_regular
from geodrop.ruleset import container
from geodrop.ruleset.fields import (
    LAST_MOMENT,
    Bounds,
    Invalid,
    choice,
    decode,
    flag,
    listing,
    optional,
    record,
    text,
    whole,
)
from geodrop.ruleset.model import Ruleset
from geodrop.state import files
from geodrop.state.history import ANY, DIGEST, MAX_GENERATION, MAX_TEXT, History, policies
from geodrop.state.keep import Kept
from geodrop.state.names import ENGINES, INTERFACE, LONGEST, MAX_NAMES
from geodrop.state.room import Room
from geodrop.state.unwritten import Unwritten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from geodrop.state.history import Entry
    from geodrop.state.keep import Keep

FOREVER = 4_102_444_800
"""The year 2100, in seconds since the epoch: until then is until somebody says otherwise."""

MINUTE = 60.0
MAX_INTENT = 1 << 20
"""Bytes of intent.json."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What was last asked for.

    `generation` is the highest number ever given out, `digest` the ruleset that was loaded last and `last_good` the one
    that a boot brings back; "" before the first load. Until `paused` (seconds since the epoch; 0: not paused) services
    only count, because of `why`. `rolled_back`: what is in force is older than what the sources say, and only who
    explicitly asks for those gets them.

    `interfaces` are where the last load judged packets, as agent.yaml or the command line had them (none: those with a
    default route; None: not known), `engine` by what ("": not known). A boot or a daemon goes by them where agent.yaml
    cannot be used.

    `unknown` says why it cannot be told what was asked for, where files are there that cannot be read: an unload or a
    pause may be among it, so nothing is restored, ended or forgotten until a person asks for something. Never stored.
    """

    generation: int = 0
    digest: str = ""
    unloaded: bool = False
    paused: int = 0
    why: str = ""
    last_good: str = ""
    rolled_back: bool = False
    interfaces: tuple[str, ...] | None = None
    engine: str = ""
    unknown: str = ""

    def paused_at(self, now: float) -> bool:
        """Whether services only count at a moment, in seconds since the epoch."""
        return now < self.paused


def _intent(digest: str, last_good: str | None = None, **rest: Any) -> Intent:  # noqa: ANN401 - fields of Intent
    # Files of versions that knew no other ruleset to go back to have no such key.
    return Intent(digest=digest, last_good=digest if last_good is None else last_good, **rest)


INTENT = record(
    _intent,
    ("paused", "why", "last_good", "rolled_back", "interfaces", "engine"),
    others=True,
    generation=whole(0, MAX_GENERATION),
    digest=text(64, DIGEST),
    unloaded=flag,
    paused=whole(0, LAST_MOMENT),
    why=text(MAX_TEXT, ANY),
    last_good=text(64, DIGEST),
    rolled_back=flag,
    interfaces=optional(listing(text(LONGEST, INTERFACE), MAX_NAMES)),
    engine=choice(*ENGINES, ""),
)
"""What intent.json may say. What a later version added is left out."""

_BOUNDS = Bounds(size=MAX_INTENT, values=100 + MAX_NAMES)
_known: dict[str, Intent] | None = None
"""What this process knows of intents, by the file, if it is their only writer; see `trust_memory`."""


def trust_memory() -> None:
    """From now on a file that cannot be read is what was last read or written: for a daemon, which holds the lock.

    It may have run out of descriptors, or the disk may have begun to fail: no reason to forget a pause.
    """
    global _known  # noqa: PLW0603 - what the process knows
    _known = {}


class Store:
    """One state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = History(folder / "history.jsonl")
        self._unwritten = Unwritten(folder)
        self._room = Room(folder)

    def intent(self) -> Intent:
        """What was last asked for; from the history where the file cannot be read, and nothing where there is none.

        Where neither can be read it is `unknown`.
        """
        name = str(self._intent_file)
        try:
            if held := _parsed(self._unwritten.intent()):
                return held
            found, why = self._read_intent(), "it is damaged"
        except FileNotFoundError:
            found, why = None, ""
        except OSError as error:
            found, why = None, error.strerror or str(error)
        if found and _known is not None:
            _known[name] = found
        return found or (_known or {}).get(name) or self._recovered(why)

    def remember(self, intent: Intent) -> None:
        """Write what was asked for; raises PrivilegeError or ApplyError (disk full)."""
        stored = _stored(intent)
        self._unwritten.ahead(stored)
        content = json.dumps(stored).encode()
        self._room.write(lambda: files.replace(self._intent_file, lambda file: file.write(content)))
        self._unwritten.done(intent=True)
        if _known is not None:
            _known[str(self._intent_file)] = intent

    def note(self, intent: Intent) -> None:
        """The same after the kernel has changed: what cannot be written is kept until it can be; see `unwritten`."""
        with suppress(OSError):
            if self._read_intent() == intent and self._unwritten.read().intent is None:
                return
        try:
            self.remember(intent)
        except GeodropError as error:
            self._unwritten.hold(error, intent=_stored(intent))
            if _known is not None:
                _known[str(self._intent_file)] = intent

    def unwritten(self) -> tuple[str, ...]:
        """What could not be written down, a line each, with what follows from it."""
        return tuple(self._unwritten.warnings())

    def write_back(self) -> None:
        """Write what could not be written before, and reserve room again; raises PrivilegeError or ApplyError."""
        if held := _parsed(self._unwritten.read().intent):
            self.remember(held)
        self.history.write_back()
        known = (_known or {}).get(str(self._intent_file))
        if known and self._file_differs(known):
            self.remember(known)
        if self.folder.is_dir():
            self._room.take()

    @property
    def rulesets(self) -> Path:
        """The folder of the copies."""
        return self.folder / "rulesets"

    def ruleset_path(self, digest: str) -> Path:
        """Where the ruleset of a digest is kept; the file need not exist."""
        return self.rulesets / f"{digest}.ruleset"

    def ruleset(self, digest: str) -> Ruleset:
        """The ruleset of a digest; raises DataError, also where the file of its name holds another one."""
        path = self.ruleset_path(digest)
        ruleset = Ruleset.open(path)
        if ruleset.digest != digest:
            raise DataError(f"{path}: holds another ruleset ({ruleset.digest[:12]})", "load the right one again")
        return ruleset

    def asked_for(self) -> container.Container | None:
        """The ruleset that was asked for last; None if it is not kept. Raises DataError if it is damaged."""
        path = self.ruleset_path(self.intent().digest)
        return container.open_file(path) if path.exists() else None

    def is_kept(self, digest: str) -> bool:
        """Whether the ruleset of a digest is there, whole."""
        try:
            return container.open_file(self.ruleset_path(digest)).digest == digest
        except DataError:
            return False

    def keep(self, file: container.Container | None) -> None:
        """Keep a copy of a ruleset's file, just as it was checked, and of its base; in place of one that is damaged.

        Raises PrivilegeError or ApplyError.
        """
        if file is None or file.memory is None or self.is_kept(file.digest):
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
        with suppress(OSError):
            if time.time() - Kept.of(path).retired > MINUTE:
                os.utime(path)

    def prune(self, keep: Keep, needed: set[str]) -> None:
        """Forget rulesets that have not been in force for long, or are too many; what cannot be removed is left.

        Never the needed digests, the last good one, or what `rollback` would go back to. Never a failure either.
        """
        with suppress(OSError, GeodropError):
            files.sweep(self.folder)
            files.sweep(self.rulesets)
            intent = self.intent()
            if not intent.unknown:
                self._prune(keep, needed | {intent.digest, intent.last_good})
        self._room.take()

    def _prune(self, keep: Keep, needed: set[str]) -> None:
        kept = [Kept.of(path) for path in self.rulesets.glob("*.ruleset")]
        if keep.exceeded(kept, needed, time.time()):
            # The history is long, and most changes leave nothing to forget.
            needed |= {step.digest for step in policies(self.history)[-2:]}
            for path in keep.surplus(kept, needed, time.time()):
                with suppress(OSError):
                    path.unlink()
        self.history.prune(keep.seconds, needed)

    def problems(self) -> list[str]:
        """What is damaged or could not be written, a line each, with what follows from it."""
        found = [*self.unwritten(), *self.history.problems()]
        intent = self.intent()
        if intent.unknown:
            found.append(
                f"{self._intent_file}: {intent.unknown}, and the history does not tell: it may say unloaded or paused. "
                "Nothing is restored or repaired until you say what you want: geodrop reload, pause or unload"
            )
        # It is missing by right where nothing was ever asked for with success.
        elif self._file_differs(None) and (self._intent_file.exists() or intent != Intent()):
            found.append(f"{self._intent_file}: cannot be read; the history is used in its place until the next load")
        last_good = intent.last_good
        return [*found, *self._lacking(str(self.ruleset_path(last_good)))] if last_good else found

    @staticmethod
    def _lacking(path: str) -> list[str]:
        """What is wrong with the files of the last good ruleset, as far as it shows without reading them."""
        try:
            files_of_it = [file for file in (path, container.base_path(path)) if file]
            missing = [file for file in files_of_it if not os.path.exists(file)]
        except OSError as error:
            return [f"{path}: the last good ruleset cannot be read ({error.strerror}): look at the disk"]
        return [f"{file}: the last good ruleset is missing: load it again" for file in missing]

    @property
    def _intent_file(self) -> Path:
        return self.folder / "intent.json"

    def _read_intent(self) -> Intent | None:
        """What the file says, None if it is damaged; raises OSError if it cannot be read."""
        try:
            return INTENT(decode(read_regular(self._intent_file, _BOUNDS.size), _BOUNDS))
        except Invalid:
            return None

    def _file_differs(self, intent: Intent | None) -> bool:
        """Whether the file says anything else, or for None whether it says nothing."""
        try:
            found = self._read_intent()
        except OSError:
            found = None
        return found != intent if intent else found is None and self._unwritten.read().intent is None

    def _recovered(self, why: str) -> Intent:
        """What the history leads to; unknown where that has gaps, or is not there beside a file that cannot be read."""
        unreadable, intent = self.history.unreadable(), recovered(self.history)
        if unreadable:
            return replace(intent, unknown=f"cannot be read ({why or 'it is missing'})")
        told = intent.last_good or intent.unloaded
        return replace(intent, unknown=f"cannot be read ({why})") if why and not told else intent


def _stored(intent: Intent) -> dict[str, Any]:
    """As the file has it."""
    content = {name: value for name, value in asdict(intent).items() if name != "unknown"}
    return content | {"why": intent.why[:MAX_TEXT]}


def _parsed(content: object) -> Intent | None:
    """An intent; None if it is not one."""
    try:
        return INTENT(content)
    except Invalid:
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
