"""One thread that does its work in order, so that asyncio never waits and nothing is done twice at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from geodrop.report.pieces import step

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.report.pieces import Pieces

T = TypeVar("T")

UNLOAD, REPAIR, PAUSE, CHANGE, OWN, READ, VISIT = range(7)
"""What goes before what: a crowd of readers must hold up nothing.

Repairs, but for an unload; changes that somebody asked for, a pause before others; the daemon's own reading (scrapes,
audit, tally), and the reading of those who may change things, and of those who may not.
"""


class Worker:
    """A thread and its queue. The thread does not keep the process alive: what it is at may be cut off anywhere."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, int, Callable[[], None]]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._served: dict[int, int] = {}
        """Of each priority the turn that was served last."""
        self._turns: dict[tuple[int, int], int] = {}
        """The last turn that each user was given, by priority."""
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def do(self, job: Callable[[], T], priority: int = CHANGE) -> T:
        """Do it on the thread, after what was asked for before; gives back its result or raises what it raises."""
        return await self.start(job, priority)

    async def read(self, job: Callable[[], T], priority: int, uid: int) -> T:
        """What a user asks for, if it is short. Of one priority each has as much done as another."""
        return await self.start(job, priority, self._turn(priority, uid))

    async def read_long(self, work: Pieces[T], priority: int, uid: int) -> T:
        """What is read piece by piece: between two of them others have their turn."""
        while (done := await self.start(partial(step, work), priority, self._turn(priority, uid))) is None:
            pass
        return done[0]

    def start(self, job: Callable[[], T], priority: int = CHANGE, turn: int = 0) -> asyncio.Future[T]:
        """Queue a job; the caller may wait for its outcome or not. Of one priority the lowest `turn` goes first.

        What only reads is left out if nobody waits for it any more.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            if priority >= OWN and outcome.cancelled():
                return
            self._served[priority] = turn
            try:
                result = job()
            except BaseException as failure:  # noqa: BLE001 - handed on to who waits, whatever it is
                settle = partial(outcome.set_exception, _for_a_future(failure))
            else:
                settle = partial(outcome.set_result, result)
            # RuntimeError: the loop is closed, since the daemon stops; nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: None if outcome.done() else settle())

        self._jobs.put((priority, turn, next(self._numbers), run))
        return outcome

    def _turn(self, priority: int, uid: int) -> int:
        """The next turn of a user: after his last one, and none that others have had before he came."""
        turn = max(self._served.get(priority, 0), self._turns.get((priority, uid), 0)) + 1
        self._turns[priority, uid] = turn
        return turn

    def _work(self) -> None:
        while True:
            self._jobs.get()[-1]()


def _for_a_future(failure: BaseException) -> Exception:
    """What a future takes and an event loop survives: one that ends a generator, a task or the process would not do."""
    if isinstance(failure, Exception) and not isinstance(failure, StopIteration):
        return failure
    made = RuntimeError(f"{type(failure).__name__} out of a job")
    made.__cause__ = failure
    return made
