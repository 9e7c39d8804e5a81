# SPDX-License-Identifier: Apache-2.0
"""The state directory: every ruleset that was loaded, what happened, and what the operator last asked for.

    rulesets/DIGEST.ruleset   copies of loaded rulesets, found by the digest that the kernel carries; a ruleset that
                              differs from another in a few verdicts is a delta file (ruleset.container) and needs that
    history.jsonl             every change and every failed attempt; see state.history
    intent.json               what was last asked for; see state.intent
    exemptions.json           which sources pass for a limited time; see state.exemptions
    accepted.json             which rulesets were accepted, where signatures are demanded; see state.accepted
    reserve                   disk space for the two above on a full disk; see state.room

A damaged file does no lasting harm: the intent is recovered from the history, the history continues after unreadable
lines, and a ruleset is stored again when it is next loaded. What cannot be written is kept in /run (state.unwritten).
`problems` lists what was found.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop import formats
from geodrop.errors import DataError, GeodropError
from geodrop.inputs import read_regular
from geodrop.ruleset import container
from geodrop.ruleset.fields import Bounds, Invalid, decode
from geodrop.ruleset.model import Ruleset
from geodrop.state import files
from geodrop.state.accepted import Accepted
from geodrop.state.exemptions import ClockReading, Exemptions
from geodrop.state.history import History, policies
from geodrop.state.intent import Intent, intent_of_file, parsed, recovered, stored
from geodrop.state.keep import Kept
from geodrop.state.names import MAX_NAMES
from geodrop.state.room import Room
from geodrop.state.unwritten import Unwritten

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.state.keep import Keep

MINUTE = 60.0
MAX_INTENT = 1 << 20
"""Bytes of intent.json."""


_BOUNDS = Bounds(size=MAX_INTENT, values=100 + MAX_NAMES)
_known: dict[str, Intent] | None = None
"""The intents that this process wrote last, or read first, by file, if it is their only writer; see `trust_memory`."""


def trust_memory() -> None:
    """From now on, use what was last written, or read before that, in place of an unreadable file: for a daemon, with
    the lock.

    A daemon may have run out of descriptors, or the disk may have begun to fail; it must not forget a pause for that.
    """
    global _known  # noqa: PLW0603 - state of the process
    _known = {}


class Store:
    """One state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = History(folder / "history.jsonl")
        self.exemptions = Exemptions(folder)
        self.accepted = Accepted(folder)
        self._unwritten = Unwritten(folder)
        self._room = Room(folder)

    def intent(self) -> Intent:
        """Return what was last asked for; from the history if the file cannot be read.

        Without any files it is the empty intent. If neither can be read, it has `unknown` set.
        """
        name = str(self._intent_file)
        try:
            if held := parsed(self._unwritten.intent()):
                return held
            found, why = self._read_intent(), "it is damaged"
        except FileNotFoundError:
            found, why = None, ""
        except OSError as error:
            found, why = None, error.strerror or str(error)
        if found and not found.newer and _known is not None:
            # A `status` may have read the file before another thread has written a newer intent.
            _known.setdefault(name, found)
        return found or (_known or {}).get(name) or self._recovered(why)

    def remember(self, intent: Intent) -> None:
        """Write what was asked for.

        Raises PrivilegeError, ApplyError (disk full), or NewerError: a file of a newer geodrop is not replaced.
        """
        if newer := self._newer():
            raise formats.INTENT.refusal(newer, str(self._intent_file), "")
        written = stored(intent)
        self._unwritten.ahead(written)
        content = json.dumps(written).encode()
        self._room.write(lambda: files.replace(self._intent_file, lambda file: file.write(content)))
        self._unwritten.done(intent=True)
        if _known is not None:
            _known[str(self._intent_file)] = intent

    def note(self, intent: Intent) -> None:
        """Write what was asked for after the kernel has changed; if that fails, keep it in /run (see `unwritten`).

        Nobody asked for an intent that is still the one of a newer geodrop: it is not written.
        """
        if intent.newer:
            return
        with suppress(OSError):
            if self._read_intent() == intent and self._unwritten.read().intent is None:
                return
        try:
            self.remember(intent)
        except GeodropError as error:
            self._unwritten.hold(error, intent=stored(intent))
            if _known is not None:
                _known[str(self._intent_file)] = intent

    def unwritten(self) -> tuple[str, ...]:
        """Return a line of text for each thing that could not be written, with the consequence."""
        return tuple(self._unwritten.warnings())

    def write_back(self) -> None:
        """Write what could not be written before, and reserve space again. Raises PrivilegeError or ApplyError."""
        if held := parsed(self._unwritten.read().intent):
            self.remember(held)
        self.history.write_back()
        self.exemptions.write_back()
        known = (_known or {}).get(str(self._intent_file))
        if known and not known.newer and self._file_differs(known):
            self.remember(known)
        if self.folder.is_dir():
            self._room.take()

    @property
    def rulesets(self) -> Path:
        """The folder of the stored rulesets."""
        return self.folder / "rulesets"

    def ruleset_path(self, digest: str) -> Path:
        """Return the path of a digest's ruleset; the file need not exist."""
        return self.rulesets / f"{digest}.ruleset"

    def ruleset(self, digest: str) -> Ruleset:
        """Open the ruleset of a digest. Raises DataError, also if the file of that name holds another ruleset."""
        path = self.ruleset_path(digest)
        ruleset = Ruleset.open(path)
        if ruleset.digest != digest:
            raise DataError(f"{path}: holds another ruleset ({ruleset.digest[:12]})", "load the right one again")
        return ruleset

    def asked_for(self) -> container.Container | None:
        """Return the ruleset that was asked for last; None if it is not stored. Raises DataError if it is damaged."""
        path = self.ruleset_path(self.intent().digest)
        return container.open_file(path) if path.exists() else None

    def is_kept(self, digest: str) -> bool:
        """Return whether the ruleset of a digest is stored and undamaged."""
        try:
            return container.open_file(self.ruleset_path(digest)).digest == digest
        except DataError:
            return False

    def keep(self, file: container.Container | None) -> None:
        """Store the content of a ruleset's file as it was checked, and of its base; replaces a damaged copy.

        Raises PrivilegeError or ApplyError.
        """
        if file is None or file.memory is None or self.is_kept(file.digest):
            return
        self.keep(file.base)
        path = self.ruleset_path(file.digest)
        files.replace(path, file.memory.write_to)
        container.written(path, file)

    def keep_bytes(self, content: bytes, digest: str) -> None:
        """Store a ruleset that has no file. Raises PrivilegeError or ApplyError."""
        files.replace(self.ruleset_path(digest), lambda file: file.write(content))

    def retire(self, digest: str) -> None:
        """Record, in the file's mtime, that a ruleset has just ceased to be in force; `prune` counts from here.

        Not repeated within a minute: after a change of mtime the file is hashed again, and `prune` needs no better
        precision.
        """
        path = self.ruleset_path(digest)
        with suppress(OSError):
            if time.time() - Kept.of(path).retired > MINUTE:
                os.utime(path, follow_symlinks=False)

    def prune(self, keep: Keep, needed: set[str]) -> None:
        """Remove rulesets that have not been in force for long, or are too many. Never raises.

        The needed digests, the last good ruleset, and the one that `rollback` would go back to stay.
        """
        with suppress(OSError, GeodropError):
            files.sweep(self.folder)
            files.sweep(self.rulesets)
            intent = self.intent()
            if not intent.unknown and not self._newer():
                before = {intent.confirm.digest} if intent.confirm else set()
                self._prune(keep, needed | {intent.digest, intent.last_good} | before)
        self._room.take()

    def _prune(self, keep: Keep, needed: set[str]) -> None:
        kept = [Kept.of(path) for path in self.rulesets.glob("*.ruleset")]
        if keep.exceeded(kept, needed, time.time()):
            # The history is only read here, because it is long and most changes leave nothing to remove.
            needed |= {step.digest for step in policies(self.history)[-2:]}
            for path in keep.surplus(kept, needed, time.time()):
                with suppress(OSError):
                    path.unlink()
        self.history.prune(keep.audit, needed)

    def problems(self) -> list[str]:
        """Return a line of text for each thing that is damaged or could not be written, with the consequence."""
        found = [*self.unwritten(), *self.history.problems(), *self.exemptions.problems(ClockReading.now())]
        found += self.accepted.problems()
        intent = self.intent()
        if newer := self._newer():
            found.append(_left_alone(self._intent_file, newer))
        elif intent.unknown:
            found.append(
                f"{self._intent_file}: {intent.unknown}, and the history does not tell: it may say unloaded or paused. "
                "Nothing is restored or repaired until you choose: geodrop reload, pause or unload"
            )
        # The file's absence is normal if no change ever succeeded.
        elif self._file_differs(None) and (self._intent_file.exists() or intent != Intent()):
            found.append(f"{self._intent_file}: cannot be read; the history is used in its place until the next load")
        last_good = intent.last_good
        return [*found, *self._lacking(str(self.ruleset_path(last_good)))] if last_good else found

    @staticmethod
    def _lacking(path: str) -> list[str]:
        """Return what is wrong with the files of the last good ruleset, without reading their content."""
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
        """Return the file's intent, None if it is damaged. Raises OSError if it cannot be read."""
        try:
            return intent_of_file(decode(read_regular(self._intent_file, _BOUNDS.size), _BOUNDS))
        except Invalid:
            return None

    def _newer(self) -> int:
        """Return the format of the intent's file if a newer geodrop wrote it; else 0."""
        with suppress(OSError):
            return (self._read_intent() or Intent()).newer
        return 0

    def _file_differs(self, intent: Intent | None) -> bool:
        """Return whether the file holds another intent; for None, whether no intent is stored at all."""
        try:
            found = self._read_intent()
        except OSError:
            found = None
        return found != intent if intent else found is None and self._unwritten.read().intent is None

    def _recovered(self, why: str) -> Intent:
        """Return the intent that the history leads to.

        It is unknown if the history has gaps or newer records, or if it tells nothing and the intent file cannot be
        read.
        """
        gaps, intent = self.history.unreadable() or self.history.newer(), recovered(self.history)
        if gaps:
            return replace(intent, unknown=f"cannot be read ({why or 'it is missing'})")
        told = intent.last_good or intent.unloaded
        return replace(intent, unknown=f"cannot be read ({why})") if why and not told else intent


def _left_alone(file: Path, number: int) -> str:
    """Return what `status` says of an intent that a newer geodrop wrote."""
    said = f"{file}: {formats.by_newer(number)}: what is in force stays, and nothing new can be loaded"
    return f"{said}; next: {formats.UPGRADE}, or go on without the file: mv {file} {file}.{number}, and geodrop reload"
