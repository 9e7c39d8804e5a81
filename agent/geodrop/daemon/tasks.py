# SPDX-License-Identifier: Apache-2.0
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
"""For the final work of tasks; all waits at a stop together stay below the timeout of systemd."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a failed task is started again: after the first failure, and after many in a row."""
SHOWN = 3600.0
"""Seconds for which status shows a bug, or a failure not known to be over."""


@dataclass(frozen=True, slots=True)
class Bug:
    """The last bug of a task, and the number of bugs so far. Times are of the monotonic clock."""

    moment: float
    logged: float
    text: str
    count: int


class Tasks:
    """Starts the tasks of the daemon. To be used in the daemon's event loop only."""

    def __init__(self, log: Logger, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics
        self._running: set[asyncio.Task[Any]] = set()
        self._bugs: dict[str, Bug] = {}
        self._told: dict[str, str] = {}
        """The last failure, other than a bug, of each task: the same failure is logged once."""
        self._failing: dict[str, tuple[float, str]] = {}
        """Time and text of the last failure of each task that has not worked since."""

    def once(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start the work; log and status report how it ended."""
        task = asyncio.ensure_future(self._guarded(name, work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def forever(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Start the work and restart it, with growing pauses, whenever it fails, until the daemon stops."""
        self.once(name, self._again(name, work))

    def problems(self) -> list[str]:
        """Return what failed recently, a line each."""
        now = time.monotonic()
        failing = [text for moment, text in self._failing.values() if now - moment < SHOWN]
        return failing + [
            f"the daemon met a bug in {name}: {bug.text}, {bug.count} times since it started, last "
            f"{utc.moment(time.time() - now + bug.moment)}; please report it with its traceback: journalctl -u geodrop"
            for name, bug in self._bugs.items()
            if now - bug.moment < SHOWN
        ]

    def works(self, name: str) -> None:
        """Record that a task works again."""
        self._failing.pop(name, None)

    def met(self, name: str, error: Exception) -> None:
        """Record a bug: in metrics, in the status, and with its traceback in the log; the same bug once a minute."""
        now, before = time.monotonic(), self._bugs.get(name)
        # The text of an exception may be anything, and long.
        text = f"{type(error).__name__}: {error}"[:200].rstrip(": ")
        silent = before is not None and before.text == text and now - before.logged < LONGEST_PAUSE
        logged = before.logged if before and silent else now
        self._bugs[name] = Bug(now, logged, text, before.count + 1 if before else 1)
        self._metrics.bug(name)
        if not silent:
            self._log.error("a bug; please report it", kind=Event.BUG, task=name, exc_info=error)

    @contextlib.contextmanager
    def failing(self, name: str) -> Iterator[None]:
        """Turn every error inside into one with an exit code: a bug is recorded and raised as BugError.

        An error of the system, such as a lack of descriptors, is no bug: ApplyError.
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
        """Cancel all tasks, and wait up to `seconds` for their final work."""
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
            return  # logged already
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
