# SPDX-License-Identifier: Apache-2.0
"""What was in force when, who asked for it, and what failed: the objects of `history --json`."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.state.entry import DONE
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Reversible

    from geodrop.config import Config
    from geodrop.report.pieces import Pieces
    from geodrop.state.entry import Entry

SCHEMA = 1
FOUND = ("drift", "prune", "newer")
"""Origins of records that no request led to."""
LINES = 1_000
"""Entries in one piece of a long read: some 6 ms."""


def read_history(config: Config, count: int | None = None) -> Pieces[tuple[list[dict[str, Any]], list[str]]]:
    """Read the last `count` changes and attempts, the newest first, and what is damaged, a line each."""
    store = Store(config.state)
    entries: deque[Entry] = deque(maxlen=count)
    for number, entry in enumerate(store.history, 1):
        entries.append(entry)
        if number % LINES == 0:
            yield
    return [as_object(entry, until) for entry, until in with_ends(entries)], store.problems()


def with_ends(entries: Reversible[Entry]) -> Iterator[tuple[Entry, float | None]]:
    """Yield each entry, newest first, with the end of what it put in force; None if it still is, or nothing was put."""
    end = None
    for entry in reversed(entries):
        yield entry, end if entry.put_in_force else None
        if entry.put_in_force or entry.ends:
            end = entry.time


def as_object(entry: Entry, until: float | None) -> dict[str, Any]:
    """Return one line of `history --json`. `until` is in seconds since the epoch."""
    return {
        "schema": SCHEMA,
        "time": utc.moment(entry.time),
        "until": None if until is None else utc.moment(until),
        "seconds": entry.seconds,
        "origin": entry.origin,
        "outcome": entry.outcome,
        "generation": entry.generation or None,
        "digest": entry.digest or None,
        "uid": entry.uid,
        "sudo_user": entry.sudo_user or None,
        "change": entry.change or None,
        "why": entry.why or None,
        "error": entry.error or None,
        "target": entry.target or None,
        "confirm": utc.moment(entry.confirm) if entry.confirm else None,
        "paused_until": utc.moment(entry.paused) if 0 < entry.paused < FOREVER else None,
        "inputs": list(entry.inputs),
        "previous_generation": entry.previous_generation or None,
        "previous_digest": entry.previous_digest or None,
        "accept": entry.accept or None,
        "since": utc.moment(entry.since) if entry.since else None,
        "drops": [asdict(one) for one in entry.drops],
        "signed_by": entry.signed_by or None,
        "signed_key": entry.signed_key or None,
        "compiled": utc.moment(entry.compiled) if entry.compiled else None,
        "number": entry.number or None,
        "previous": entry.previous or None,
    }


def last_failure(entries: Iterable[Entry]) -> Entry | None:
    """Return the last entry if it failed: then the last request is not in force. What was only found does not count."""
    asked = (entry for entry in entries if entry.origin not in FOUND)
    return next((entry for entry in deque(asked, maxlen=1) if entry.outcome != DONE), None)


def by_a_daemon(entries: Iterable[Entry]) -> bool:
    """Whether a daemon, and not a load by hand, was the last to put in force or repair what is in force.

    A pause, a rollback or a boot does not tell: both a daemon and a command do them.
    """
    telling = (
        one.origin for one in entries if one.put_in_force and one.origin in {"load", "reload", "repair", "compact"}
    )
    return next(iter(deque(telling, maxlen=1)), "load") != "load"
