# SPDX-License-Identifier: Apache-2.0
"""What is known of a load that waits to be confirmed: from the intent, or from the kernel if the intent lacks it.

A process may end between the switch and the write of the intent; the kernel then goes back all the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.engine import underway
from geodrop.engine.api import Undo
from geodrop.linux import clock
from geodrop.operations.brought_back import brought_back, is_ahead
from geodrop.state.this_boot import boot_id
from geodrop.state.unconfirmed import SECOND, SHORTEST, Unconfirmed

if TYPE_CHECKING:
    from geodrop.engine.api import Observed
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.intent import Intent
    from geodrop.state.store import Store


@dataclass(frozen=True, slots=True)
class ShouldHold:
    """What the kernel should hold, with a pause applied: the ruleset, and with a window what it goes back to."""

    ruleset: Ruleset
    undo: Undo | None = None


def intent_of(store: Store, observed: Observed) -> Intent:
    """Return the intent that belongs to what is in force, as `underway.intent`; with the window that the kernel has."""
    return with_window(underway.intent(store, observed), observed)


def with_window(intent: Intent, observed: Observed) -> Intent:
    """Return the intent with the window that the kernel has, if the intent does not know of it.

    A window that was confirmed or undone may be there again, in a table that another program has brought back.
    """
    window = observed.window
    if intent.confirm or window is None or not is_ahead(intent, window.generation):
        return intent
    if intent.undone and intent.undone.generation == window.generation:
        return intent
    deadline = window.deadline or clock.monotonic()
    confirm = Unconfirmed(
        window.generation,
        window.previous,
        window.previous_digest or intent.digest,
        unloaded=not window.previous and (intent.unloaded or not intent.digest),
        seconds=SHORTEST,
        deadline=deadline,
        ends=moment_of(deadline),
        boot=boot_id(),
    )
    highest = max(intent.generation, window.generation)
    return replace(intent, generation=highest, begun=0, confirm=confirm, digest=window.digest, unloaded=False)


def left(confirm: Unconfirmed) -> float:
    """Return the seconds until the kernel goes back; at most 0 once it has, or the machine has booted since."""
    return confirm.left(boot_id(), clock.monotonic())


def is_over(confirm: Unconfirmed) -> bool:
    """Tell whether the kernel has gone back. A deadline that is not set yet lies ahead."""
    return bool(confirm.deadline) and left(confirm) <= 0


def moment_of(deadline: int) -> int:
    """Return a moment of CLOCK_MONOTONIC, in nanoseconds, as seconds since the epoch, by the machine's clock now."""
    return round(time.time() + (deadline - clock.monotonic()) / SECOND)


def ended(confirm: Unconfirmed) -> int:
    """Return when a load that is over was undone, in seconds since the epoch; a boot ends it before its deadline."""
    moment = moment_of(confirm.deadline) if confirm.boot == boot_id() else confirm.ends
    return min(moment, round(time.time()))


def held(store: Store, intent: Intent, observed: Observed) -> ShouldHold:
    """Return what the kernel should hold. Raises DataError if a ruleset is not kept or damaged."""
    if intent.confirm is None:
        return ShouldHold(store.ruleset(meant(intent, observed)).paused(intent.paused))
    return ShouldHold(store.ruleset(intent.digest).paused(intent.paused), undo_of(store, intent.confirm, intent.paused))


def meant(intent: Intent, observed: Observed) -> str:
    """Return the digest of the ruleset that should be in force: of the kernel's, unless it was only brought back."""
    if intent.confirm or brought_back(intent, observed):
        return intent.digest
    return observed.digest or intent.digest


def undo_of(store: Store, confirm: Unconfirmed, paused: int) -> Undo:
    """Return what a load is undone to, with a pause applied. Raises DataError as `held`."""
    ruleset = store.ruleset(confirm.digest).paused(paused) if confirm.previous else None
    return Undo(confirm.previous, ruleset, confirm.deadline)
