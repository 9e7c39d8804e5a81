"""The daemon's tasks. A bug in one is recorded and shown; it ends neither the task nor the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.daemon.event import Event
from geodrop.errors import ApplyError, BugError, GeodropError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from geodrop.daemon.log import Logger
    from geodrop.daemon.metrics import Metrics

LAST_SECONDS = 5.0
"""For what tasks do at their end; with what else a stop waits for it is less than systemd gives."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a task that has failed is begun again: the first time, and after many times in a row."""
SHOWN = 3600.0
"""Seconds for which status tells of a bug, or of a failure that is not known to be over."""


@dataclass(frozen=True, slots=True)
class Bug:
    """The last one of a task, and how many there were. Moments are of the clock that only goes forward."""

    moment: float
    logged: float
    text: str
    count: int


class Tasks:
    """Starts what runs beside everything else. Only for the loop of the daemon."""

    def __init__(self, log: Logger, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics
        self._running: set[asyncio.Task[Any]] = set()
        self._bugs: dict[str, Bug] = {}
        self._told: dict[str, str] = {}
        """The last failure of each task that was no bug: the same one is told once."""
        self._failing: dict[str, tuple[float, str]] = {}
        """When a task has failed last and by what, if it does not work again."""

    def once(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have it done; how it ends is known by the log and the status."""
        task = asyncio.ensure_future(self._guarded(name, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def forever(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Have it done until the daemon stops: begun again, ever later, whenever it fails."""
        self.once(name, self._again(name, work))

    def problems(self) -> list[str]:
        """What has failed lately, a line each."""
        now = time.monotonic()
        failing = [text for moment, text in self._failing.values() if now - moment < SHOWN]
        return failing + [
            f"the daemon met a bug in {name}: {bug.text}, {bug.count} times since it started, last "
            f"{utc.moment(time.time() - now + bug.moment)}; please report it with its traceback: journalctl -u geodrop"
            for name, bug in self._bugs.items()
            if now - bug.moment < SHOWN
        ]

    def works(self, name: str) -> None:
        """What a task has failed by is over."""
        self._failing.pop(name, None)

    def met(self, name: str, error: Exception) -> None:
        """Record a bug: counted, in the status, and with its traceback in the log; the same one once a minute."""
        now, before = time.monotonic(), self._bugs.get(name)
        # Its own text may be anything, and long.
        text = f"{type(error).__name__}: {error}"[:200].rstrip(": ")
        silent = before is not None and before.text == text and now - before.logged < LONGEST_PAUSE
        logged = before.logged if before and silent else now
        self._bugs[name] = Bug(now, logged, text, before.count + 1 if before else 1)
        self._metrics.bug(name)
        if not silent:
            self._log.error("a bug; please report it", kind=Event.BUG, task=name, exc_info=error)

    @contextlib.contextmanager
    def failing(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside is a failure with an exit code: a bug is recorded and raised as BugError.

        What the system refuses, such as a descriptor, is no bug: ApplyError.
        """
        try:
            yield
        except GeodropError:
            raise
        except OSError as error:
            raise ApplyError(f"the system refused: {error}", "free what it lacks, and try again") from error
        except Exception as error:
            self.met(name, error)
            text = f"a bug in the daemon ({type(error).__name__}); nothing else has changed"
            raise BugError(text, "report it with the traceback: journalctl -u geodrop") from error

    async def close(self, seconds: float = LAST_SECONDS) -> None:
        """End them all, and wait so long for what they have to do at their end."""
        if running := list(self._running):
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=seconds)

    async def _guarded(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            with self.failing(name):
                await work
            self.works(name)
        except BugError:
            return  # told already
        except GeodropError as failure:
            if self._told.get(name) != failure.message:
                self._log.error(f"{name} failed", kind=Event.TASK_FAILED, reason=failure.message)
            self._told[name] = failure.message
            self._failing[name] = time.monotonic(), failure.problem

    async def _again(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            await self._guarded(name, work())
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
