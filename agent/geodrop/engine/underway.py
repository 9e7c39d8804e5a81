"""The change that this process is making in the kernel: for whoever reads the kernel meanwhile or cannot wait.

There is one at a time: whoever makes it holds state.lock.exclusive. Other threads read the kernel while it is made.
What they find is what is in force, with what is filled or deleted beside it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from geodrop import utc
from geodrop.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from geodrop.engine.api import Difference, Observed
    from geodrop.state.store import Intent, Store

T = TypeVar("T")

PASSES = 3
"""How often something is read again because a change began or ended while it was read."""

FINISHED_BEFORE = {"unload": {"unload"}, "pause": {"unload", "pause", "repair", "interfaces"}}
"""What cannot wait, and the changes that go first all the same: until a repair is done there is nothing to pause."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A change that has begun: its origin as in the history, its generation, the intent that is written at its end."""

    origin: str
    generation: int
    intent: Intent
    began: float = field(default_factory=time.time)
    since: float = field(default_factory=time.monotonic)

    def as_object(self) -> dict[str, Any]:
        """As `status --json` has it."""
        seconds = round(time.monotonic() - self.since, 3)
        return {"origin": self.origin, "since": utc.moment(self.began), "seconds": seconds}


class _Here:
    """What this process knows of it."""

    now: UnderWay | None = None
    marks = 0
    urgent: ClassVar[list[str]] = []


@contextlib.contextmanager
def making(origin: str, generation: int, intent: Intent) -> Iterator[None]:
    """A change of the kernel and of what is written down about it; raises BusyError where it is to be given up."""
    _Here.now = UnderWay(origin, generation, intent)
    _Here.marks += 1
    try:
        go_on()
        yield
    finally:
        _Here.now = None
        _Here.marks += 1


def now() -> UnderWay | None:
    """The change that is under way."""
    return _Here.now


def marks() -> int:
    """How many changes have begun and ended so far."""
    return _Here.marks


def intent(store: Store, observed: Observed) -> Intent:
    """What was asked for with what is in force: between the switch and the end of a change it is not written yet."""
    change = _Here.now
    return change.intent if change and change.generation == observed.generation else store.intent()


def of_what_is_in_force(differences: Iterable[Difference]) -> list[Difference]:
    """Differences that count: while a change is made there is more in the table than what is in force."""
    return [one for one in differences if not (one.surplus and _Here.now)]


def undisturbed(read: Callable[[], T], good: Callable[[T], bool] = lambda _: False) -> T:
    """What `read` gives: if that is not good, it is read again where a change began or ended meanwhile."""
    for _ in range(PASSES - 1):
        before = _Here.marks
        found = read()
        if good(found) or before == _Here.marks:
            return found
    return read()


def give_up(what: str) -> None:
    """Have the change that is under way given up for something that cannot wait, until `begin` is told of that.

    `what` is one of FINISHED_BEFORE. What is in force stays.
    """
    _Here.urgent.append(what)


def begin(what: str) -> None:
    """What could not wait has its turn."""
    _Here.urgent.remove(what)


def go_on() -> None:
    """To be called between the steps of a change that takes long; raises BusyError where it is to be given up."""
    change = _Here.now
    for what in tuple(_Here.urgent):
        if change and change.origin not in FINISHED_BEFORE[what]:
            raise BusyError(
                f"given up, since `geodrop {what}` was asked for meanwhile; what was in force before stays in force",
                f"ask again, if it is still wanted, once the {what} is done",
            )
