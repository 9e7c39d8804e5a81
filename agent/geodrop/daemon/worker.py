# SPDX-License-Identifier: Apache-2.0
"""A thread that runs jobs in order, so that the event loop never blocks and no two jobs run at once."""

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
"""Priorities, highest first, so that many readers delay nothing.

An unload comes first, then repairs, a pause, and other changes that a user asked for. Then come the daemon's own reads
(scrapes, audit, tally), reads of users who may change things, and reads of those who may not.
"""


class Worker:
    """A thread and its queue. The thread does not keep the process alive: its job may be cut off anywhere."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, int, Callable[[], None]]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._served: dict[int, int] = {}
        """The turn served last, by priority."""
        self._turns: dict[tuple[int, int], int] = {}
        """The last turn given to each user, by priority and uid."""
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def do(self, job: Callable[[], T], priority: int = CHANGE) -> T:
        """Run a job on the thread, after earlier jobs of its priority. Return its result or raise what it raises."""
        return await self.start(job, priority)

    async def read(self, job: Callable[[], T], priority: int, uid: int) -> T:
        """Run a short read for a user. Within a priority, users take turns."""
        return await self.start(job, priority, self._turn(priority, uid))

    async def read_long(self, work: Pieces[T], priority: int, uid: int) -> T:
        """Run a long read piece by piece; between two pieces others have their turn."""
        while (done := await self.start(partial(step, work), priority, self._turn(priority, uid))) is None:
            pass
        return done[0]

    def start(self, job: Callable[[], T], priority: int = CHANGE, turn: int = 0) -> asyncio.Future[T]:
        """Queue a job; the caller may or may not wait for the future. Within a priority the lowest `turn` goes first.

        A read without a waiting caller is skipped.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            if priority >= OWN and outcome.cancelled():
                return
            self._served[priority] = turn
            try:
                result = job()
            except BaseException as failure:  # noqa: BLE001 - passed on to the caller, whatever it is
                deliver = partial(outcome.set_exception, _for_a_future(failure))
            else:
                deliver = partial(outcome.set_result, result)
            # RuntimeError: the event loop is closed, because the daemon stops; no caller waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: None if outcome.done() else deliver())

        self._jobs.put((priority, turn, next(self._numbers), run))
        return outcome

    def _turn(self, priority: int, uid: int) -> int:
        """Return the next turn of a user: after the user's last one, and not before those served already."""
        turn = max(self._served.get(priority, 0), self._turns.get((priority, uid), 0)) + 1
        self._turns[priority, uid] = turn
        return turn

    def _work(self) -> None:
        while True:
            self._jobs.get()[-1]()


def _for_a_future(failure: BaseException) -> Exception:
    """Make an exception fit for a future: one that would end a generator, task or process becomes RuntimeError."""
    if isinstance(failure, Exception) and not isinstance(failure, StopIteration):
        return failure
    made = RuntimeError(f"{type(failure).__name__} out of a job")
    made.__cause__ = failure
    return made
