# SPDX-License-Identifier: Apache-2.0
"""Whether the history is as it was written: the object of `history --verify --json`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.errors import DataError, not_opened
from geodrop.state.chain import NEXT, Checked, Fault, check
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.report.pieces import Pieces
    from geodrop.state.history import History

SCHEMA = 1
LINES = 1_000
"""Lines in one piece of a long read: some 10 ms."""
TRIES = 3
"""How often a history that grows meanwhile is read: a line that is being written looks like one that was cut off."""


def read_chain(config: Config, heads: Sequence[str] = ()) -> Pieces[dict[str, Any]]:
    """Check the chain of the history, and look for records with these hashes, or with hashes that begin so.

    Raises DataError or DataDeniedError if the history cannot be read.
    """
    store = Store(config.state)
    history = store.history
    found = Checked()
    for _ in range(TRIES):
        try:
            before = _size(history)
            for number, result in enumerate(check(history.chain(), heads)):
                found = result or found
                if number % LINES == 0:
                    yield
            if not found.faults or _size(history) == before:
                break
        except OSError as error:
            raise not_opened(str(history.path), error, DataError, "look at the disk") from error
    if not found.records and store.intent().generation:
        found.faults.append(Fault(1, "is missing, although generations were put in force"))
    return as_object(found, str(history.path), heads)


def as_object(found: Checked, file: str, heads: Sequence[str]) -> dict[str, Any]:
    """Return the object of `history --verify --json`."""
    missing = [head for head in heads if head not in found.numbers]
    forgotten = max(found.pruned, key=lambda one: one.through, default=None)
    good = not found.faults and not missing
    return {
        "schema": SCHEMA,
        "good": good,
        "file": file,
        "records": found.records,
        "first": utc.moment(found.first) if found.records else None,
        "last": utc.moment(found.last) if found.records else None,
        "number": found.head.number or None,
        "head": found.head.digest or None,
        "forgotten": forgotten and {"through": forgotten.through, "until": utc.moment(forgotten.until)},
        "cut_before": found.cut,
        "faults": [{"line": one.line, "what": one.what} for one in found.faults],
        "heads": [{"head": head, "number": found.numbers.get(head)} for head in heads],
        "next_step": None if good else NEXT,
    }


def _size(history: History) -> tuple[int, int]:
    """Return what changes if the file grows or is replaced; zeroes if there is no file. Raises OSError."""
    try:
        found = os.stat(history.path)
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size
