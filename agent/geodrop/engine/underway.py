# SPDX-License-Identifier: Apache-2.0
"""The change that this process is making in the kernel, for other threads that read the kernel or cannot wait.

At most one change is made at a time: its thread holds state.lock.exclusive. Other threads may read the kernel
meanwhile. They find what is in force, and beside it what is being filled or deleted.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from geodrop import utc
from geodrop.errors import BusyError, GeodropError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from geodrop.engine.api import Difference, Observed
    from geodrop.state.intent import Intent
    from geodrop.state.store import Store

T = TypeVar("T")

PASSES = 3
"""How often something is read if what is in force moves during the reading."""
PATIENCE = 1.0
"""Seconds that a reader waits before it reads again, at most, until what is in force has moved."""
PAUSE = 0.01
"""Seconds between two looks at what is in force."""

FINISHED_BEFORE = {"unload": {"unload"}, "pause": {"unload", "pause", "repair", "interfaces"}}
"""Verbs that cannot wait, and for each the changes that are still finished first: until a repair is done there is
nothing to pause.
"""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A change that has begun: its origin as in the history, its generation, and the intent that its end will write."""

    origin: str
    generation: int
    intent: Intent
    began: float = field(default_factory=time.time)
    since: float = field(default_factory=time.monotonic)

    def as_object(self) -> dict[str, Any]:
        """Return the change as `status --json` shows it."""
        seconds = round(time.monotonic() - self.since, 3)
        return {"origin": self.origin, "since": utc.moment(self.began), "seconds": seconds}


class _Here:
    """What this process knows about its change."""

    now: UnderWay | None = None
    filling = False
    marks = 0
    urgent: ClassVar[list[str]] = []


@contextlib.contextmanager
def making(origin: str, generation: int, intent: Intent) -> Iterator[None]:
    """Mark a change of the kernel and of the state as under way, during the body. Raises BusyError if it must be given
    up.
    """
    _Here.now = UnderWay(origin, generation, intent)
    _Here.marks += 1
    try:
        go_on()
        yield
    finally:
        _Here.now = None
        _Here.marks += 1


@contextlib.contextmanager
def filling() -> Iterator[None]:
    """Mark the part of a change, during the body, that only fills beside what is in force: readers find that as it was.

    The rest of a change moves what is in force. Where both engines take part, that takes several steps.
    """
    _Here.filling = True
    _Here.marks += 1
    try:
        yield
    finally:
        _Here.filling = False
        _Here.marks += 1


def now() -> UnderWay | None:
    """Return the change that is under way; None if there is none."""
    return _Here.now


def marks() -> int:
    """Return how many times a change has begun, ended, or begun or ended to fill, so far."""
    return _Here.marks


def at_rest(since: int) -> bool:
    """Tell whether nothing has moved what is in force since `marks` returned this number."""
    return since == _Here.marks and not _moving()


def wait_for_rest() -> None:
    """Wait until nothing moves what is in force, or until PATIENCE seconds have passed."""
    ends = time.monotonic() + PATIENCE
    while _moving() and time.monotonic() < ends:
        time.sleep(PAUSE)


def _moving() -> bool:
    return _Here.now is not None and not _Here.filling


def intent(store: Store, observed: Observed) -> Intent:
    """Return the intent that belongs to what is in force. Between a change's switch and its end it is
    not written yet.
    """
    change = _Here.now
    return change.intent if change and change.generation == observed.generation else store.intent()


def of_what_is_in_force(differences: Iterable[Difference]) -> list[Difference]:
    """Return the differences that count: during a change the table also holds what is not in force."""
    return [one for one in differences if not (one.surplus and _Here.now)]


def undisturbed(read: Callable[[], T], good: Callable[[T], bool] = lambda _: False) -> T:
    """Return what `read` returns. If it fails or is not `good`, and what is in force moved meanwhile, read again."""
    for _ in range(PASSES - 1):
        before = _Here.marks
        try:
            found = read()
        except GeodropError:
            # The change has deleted what was about to be read, or moved it to the other engine.
            if at_rest(before):
                raise
        else:
            if good(found) or at_rest(before):
                return found
        wait_for_rest()
    return read()


def give_up(what: str) -> None:
    """Have the change under way given up for a verb that cannot wait; this holds until `begin` is called with it.

    `what` is a key of FINISHED_BEFORE. What is in force stays in force.
    """
    _Here.urgent.append(what)


def begin(what: str) -> None:
    """Note that a verb which could not wait has begun."""
    _Here.urgent.remove(what)


def go_on() -> None:
    """Call this between the steps of a long change. Raises BusyError if the change must be given up."""
    change = _Here.now
    for what in tuple(_Here.urgent):
        if change and change.origin not in FINISHED_BEFORE[what]:
            raise BusyError(
                f"given up, because `geodrop {what}` was called meanwhile; what was in force before stays in force",
                f"if it is still wanted, try again once the {what} is done",
            )
