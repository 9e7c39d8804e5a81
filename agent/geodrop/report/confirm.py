# SPDX-License-Identifier: Apache-2.0
"""What to say of a load that waits to be confirmed, and of one that was undone: the objects of each --json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.operations.window import ended, is_over, left, moment_of
from geodrop.state.unconfirmed import undone

if TYPE_CHECKING:
    from geodrop.state.intent import Intent
    from geodrop.state.unconfirmed import Unconfirmed


def as_it_is(intent: Intent) -> Intent:
    """Return the intent as it will be once it is recorded that a load was undone, which a reader does not do."""
    confirm = intent.confirm
    return undone(intent, confirm, ended(confirm)) if confirm and is_over(confirm) else intent


def waiting(confirm: Unconfirmed | None, digest: str) -> dict[str, Any] | None:
    """Return the object of `confirm`; None if no load waits, or its deadline is not set yet. `digest` is the load's."""
    if confirm is None or not confirm.deadline:
        return None
    return {
        "digest": digest,
        "generation": confirm.generation,
        "previous": confirm.previous or None,
        "deadline": utc.moment(moment_of(confirm.deadline)),
        "seconds_left": max(0, round(left(confirm))),
    }


def taken_back(intent: Intent) -> dict[str, Any] | None:
    """Return the object of `undone`; None if the last load was not undone."""
    one = intent.undone
    return {"digest": one.digest, "time": utc.moment(one.time)} if one else None


def problem(intent: Intent) -> list[str]:
    """Return a problem as long as a load that was undone is not followed by another one."""
    if not intent.undone:
        return []
    return [f"{intent.undone}; next: mend what it was made from, then geodrop reload --confirm-within TIME"]
