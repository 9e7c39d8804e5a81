# SPDX-License-Identifier: Apache-2.0
"""Data that could not be written into the state directory, kept in /run until it can be written.

A full or read-only disk must not stop a pause, an unload, a rollback or a repair: the kernel is changed, and what was
asked for is kept here. Readers of the state directory take this as its newest content. It is lost at the next boot, and
so is the kernel's state. If /run cannot be written either, the process keeps the data in memory while it lives.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from geodrop import formats
from geodrop.errors import GeodropError, NewerError
from geodrop.inputs import read_regular
from geodrop.ruleset.fields import (
    FORMAT,
    LAST_MOMENT,
    Bounds,
    Invalid,
    Newer,
    anything,
    decode,
    listing,
    mapping,
    number,
    numbered,
    optional,
    record,
    text,
    whole,
)
from geodrop.state import run_folder
from geodrop.state.places import until_boot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from geodrop.ruleset.fields import Field

MAX_LINES = 3 << 20
"""Most bytes of history lines that are kept; beyond that the oldest are lost, and counted."""
MAX_SIZE = 24 << 20
"""Most bytes of the file: all exemptions, and lines in which every quotation mark takes two bytes."""

NEXT_STEPS = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "raise the quota, or make room there",
    errno.EROFS: "mount it for writing again",
    errno.EACCES: "give it to the user of the daemon",
    errno.EPERM: "give it to the user of the daemon",
}


@dataclass(frozen=True, slots=True)
class Held:
    """The data that is not written yet: reason and start time, the last intent as stored, who is exempt, and lines of
    the history.

    `number` is the errno, `next_step` what to do where no errno tells. `lost` counts lines beyond MAX_LINES.
    `in_memory`: other processes cannot see the data. `newer` is the format of a file that a newer geodrop wrote, which
    is not read; it is never stored.
    """

    reason: str = ""
    number: int = 0
    since: float = 0.0
    intent: Mapping[str, Any] | None = None
    lines: tuple[str, ...] = ()
    lost: int = 0
    exemptions: Mapping[str, Any] | None = None
    next_step: str = ""
    in_memory: bool = False
    newer: int = 0


NOTHING = Held()

_ANY = re.compile(".*", re.DOTALL)
_FIELDS: dict[str, Field[Any]] = {
    "reason": text(1 << 20, _ANY),
    "number": whole(0, 4_095),
    "since": number(0, LAST_MOMENT),
    "intent": optional(mapping(text(64, _ANY), anything, 100)),
    "lines": listing(text(MAX_LINES, _ANY), MAX_LINES),
    "lost": whole(0, 1 << 48),
    "exemptions": optional(mapping(text(64, _ANY), anything, 100)),
    "next_step": text(1_024, _ANY),
}
HELD = numbered(
    formats.UNWRITTEN,
    record(Held, (), others=True, **_FIELDS),
    before=record(Held, ("exemptions", "next_step"), others=True, **_FIELDS),
)
BOUNDS = Bounds(MAX_SIZE, 1_000_000)
"""The form and size of the file. The content of an intent and of a line is checked by their readers."""

_in_memory: dict[str, Held] = {}
"""The data that this process keeps because /run could not be written, by file name."""


class Unwritten:
    """Data that could not be written into one state directory. A writer holds state.lock.exclusive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> Held:
        """Return the data; NOTHING if all is written, or if the file cannot be read."""
        try:
            return self._read()
        except OSError:
            return NOTHING

    def intent(self) -> Mapping[str, Any] | None:
        """Return the intent that is not written yet, None if there is none. Raises OSError if it cannot be read."""
        return self._read().intent

    def exemptions(self) -> Mapping[str, Any] | None:
        """Return the exemptions that are not written yet, None if all are. Raises OSError if they cannot be read."""
        return self._read().exemptions

    def _read(self) -> Held:
        name = self._name()
        if name in _in_memory:
            return _in_memory[name]
        try:
            return HELD(decode(read_regular(name, BOUNDS.size, follow=False), BOUNDS))
        except Newer as newer:
            return Held(newer=newer.number)
        except (FileNotFoundError, Invalid):
            return NOTHING

    def hold(
        self,
        error: GeodropError,
        intent: Mapping[str, Any] | None = None,
        line: str = "",
        exemptions: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an intent, a history line or exemptions that could not be written, with the error."""
        held = self.read()
        lines = [*held.lines, *([line] if line else [])]
        lost = held.lost
        while sum(map(len, lines)) > MAX_LINES:
            del lines[0]
            lost += 1
        cause = error.__cause__
        self._write(
            replace(
                held,
                # The reason why the intent could not be written takes precedence.
                reason=error.message if intent is not None or not held.reason else held.reason,
                number=(cause.errno or 0) if isinstance(cause, OSError) else 0,
                next_step=error.next_step if isinstance(error, NewerError) else "",
                since=held.since or time.time(),
                intent=held.intent if intent is None else intent,
                lines=tuple(lines),
                lost=lost,
                exemptions=held.exemptions if exemptions is None else exemptions,
            )
        )

    def ahead(self, intent: Mapping[str, Any]) -> None:
        """Replace a kept intent by a newer one that is about to be written to the state directory."""
        held = self.read()
        if held.intent is not None:
            self._write(replace(held, intent=intent))

    def done(self, *, intent: bool = False, lines: bool = False, exemptions: bool = False) -> None:
        """Forget what has now been written."""
        held = self.read()
        if held is NOTHING:
            return
        left = replace(
            held,
            intent=None if intent else held.intent,
            lines=() if lines else held.lines,
            exemptions=None if exemptions else held.exemptions,
        )
        if left.intent is None and left.exemptions is None and not left.lines:
            _in_memory.pop(self._name(), None)
            if left.newer:
                return
            try:
                os.unlink(self._name())
            except FileNotFoundError:
                pass
            except OSError:
                # The file would be taken as newer than the state directory, so this process ignores it.
                _in_memory[self._name()] = NOTHING
        elif left != held:
            self._write(left)

    def warnings(self) -> list[str]:
        """Return a line of text with the consequence; an empty list if all is written."""
        held = self.read()
        if held is NOTHING:
            return []
        what = f"{len(held.lines)} lines of the history"
        if held.intent is not None:
            what = "what was asked for last"
        elif held.exemptions is not None:
            what = "who is exempt"
        if held.newer and not held.in_memory:
            return [f"{self._name()}: {formats.by_newer(held.newer)}, and not read; next: {formats.UPGRADE}"]
        until = "this process ends" if held.in_memory else "the next boot"
        line = f"not written down: {held.reason}; {what} will be known until {until} and no longer"
        if held.intent is not None:
            line += "; after that, what was asked for before counts again"
        lost = f"; {held.lost} lines of the history are lost" if held.lost else ""
        return [f"{line}{lost}: {held.next_step or NEXT_STEPS.get(held.number, 'look at the disk')}"]

    def _write(self, held: Held) -> None:
        name = self._name()
        fields = asdict(held)
        content = json.dumps({FORMAT: formats.UNWRITTEN.number} | {key: fields[key] for key in _FIELDS}).encode()
        if held.newer:
            _in_memory[name] = replace(held, in_memory=True)
            return
        try:
            with run_folder.entered(os.path.dirname(name)) as folder:
                run_folder.replace(name, content, folder, 0o600)
        except (GeodropError, OSError):
            _in_memory[name] = replace(held, in_memory=True)
        else:
            _in_memory.pop(name, None)

    def _name(self) -> str:
        """Return a file name of its own for each network namespace and each state directory."""
        digest = hashlib.sha256(os.fsencode(os.path.abspath(self._folder))).hexdigest()
        return f"{until_boot()}/unwritten-{digest[:16]}.json"
