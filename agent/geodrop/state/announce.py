# SPDX-License-Identifier: Apache-2.0
"""Tell the journal of each record: its number, and the hash of its line, which proves all records before it.

A daemon writes it into its own log (`listen`). A command, and a boot, send it to the journal of the machine. Outside of
the machine's own network namespace a command sends nothing: tests and demos are no part of a host's audit.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from geodrop.linux import journal
from geodrop.state.places import is_machines_own
from geodrop.text import MARGIN, lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from geodrop.state.entry import Entry

EVENT = "recorded"
"""The value of GEODROP_EVENT, as daemon.event has it."""
INFO = "6"  # syslog(3)


class Announcement(NamedTuple):
    """A record that was made: in which state directory, the hash of its line, and the entry."""

    folder: Path
    head: str
    entry: Entry

    @property
    def text(self) -> str:
        """One line for people."""
        entry = self.entry
        who = f"{entry.sudo_user} (sudo)" if entry.sudo_user else f"uid {entry.uid}"
        return f"record {entry.number}: {entry.origin} {entry.outcome}, by {who}"

    @property
    def fields(self) -> dict[str, str | int]:
        """The values that a search goes by."""
        entry = self.entry
        return {
            "number": entry.number,
            "head": self.head,
            "origin": entry.origin,
            "outcome": entry.outcome,
            "generation": entry.generation,
            "state": str(self.folder),
        }


def to_journal(made: Announcement) -> None:
    """Send a record to the journal of the machine."""
    if not is_machines_own():
        return
    named = {f"GEODROP_{name.upper()}": str(value) for name, value in made.fields.items()}
    text = lines(f"{made.text}; head {made.head}", MARGIN)
    known = {"MESSAGE": text, "PRIORITY": INFO, "SYSLOG_IDENTIFIER": "geodrop", "GEODROP_EVENT": EVENT}
    journal.send(known | named)


_listener: Callable[[Announcement], None] = to_journal


def listen(listener: Callable[[Announcement], None]) -> None:
    """From now on, give each record of this process to `listener`: for a daemon, which has a log of its own."""
    global _listener  # noqa: PLW0603 - state of the process
    _listener = listener


def announce(made: Announcement) -> None:
    """Tell of a record that was made. A log that cannot be written stops no change: the record is in the history."""
    with suppress(OSError):
        _listener(made)
