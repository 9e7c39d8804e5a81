"""One thread that does its work in order, so that asyncio never waits and nothing is done twice at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

CHANGE, READ = 0, 1
"""Changes go before what only reads: a crowd of readers must not hold up a reload."""


class Worker:
    """A thread and its queue. The thread does not keep the process alive: what it is at may be cut off anywhere."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], None]]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def do(self, job: Callable[[], T], priority: int = CHANGE) -> T:
        """Do it on the thread, after what was asked for before; gives back its result or raises what it raises."""
        return await self.start(job, priority)

    def start(self, job: Callable[[], T], priority: int = CHANGE) -> asyncio.Future[T]:
        """The same for who may not want to wait."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            try:
                result = job()
            except BaseException as failure:  # noqa: BLE001 - handed on to who waits, whatever it is
                settle = partial(outcome.set_exception, _for_a_future(failure))
            else:
                settle = partial(outcome.set_result, result)
            # RuntimeError: the loop is closed, since the daemon stops; nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: None if outcome.done() else settle())

        self._jobs.put((priority, next(self._numbers), run))
        return outcome

    def _work(self) -> None:
        while True:
            self._jobs.get()[2]()


def _for_a_future(failure: BaseException) -> Exception:
    """What a future takes and an event loop survives: one that ends a generator, a task or the process would not do."""
    if isinstance(failure, Exception) and not isinstance(failure, StopIteration):
        return failure
    made = RuntimeError(f"{type(failure).__name__} out of a job")
    made.__cause__ = failure
    return made
