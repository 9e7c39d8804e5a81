"""Write down when services start and pauses end. The kernel's clock makes them; nobody has to be there.

The moment is the one that was written into the policy or the pause, whenever it is noticed; it is noticed by the
machine's clock, looked at every few seconds, so a clock that is set shows at once. Each is told once: the history is
asked whether it was told before, by this daemon or an earlier one, before or after the clock was set back.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.daemon.event import Event
from geodrop.errors import DataError, GeodropError
from geodrop.state.history import DONE, Entry
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.daemon.context import DaemonContext
    from geodrop.state.store import Intent

INTERVAL = 5.0
ORIGIN = "schedule"

Starts = dict[str, int]
"""When each enforced service starts, in seconds since the epoch, by name."""


class Schedule:
    """The task that looks at the clock."""

    def __init__(self, context: DaemonContext) -> None:
        self._context, self._kernel_worker, self._log = context, context.kernel_worker, context.log
        self._read: tuple[Intent, float] | None = None

    async def run(self) -> None:
        """For as long as the daemon lives."""
        while True:
            try:
                told = await self._kernel_worker.do(partial(self.once, time.time()))
            except GeodropError as error:
                self._log.error("the schedule cannot be kept", kind=Event.SCHEDULE_FAILED, reason=error.message)
                told = []
            for text in told:
                self._log.warning(text, kind=Event.SCHEDULED)
            await asyncio.sleep(INTERVAL)

    def once(self, now: float) -> list[str]:
        """Write down what has come to pass by `now`, in seconds since the epoch; gives it back as text.

        Reads nothing but the intent while that is the same and no moment has come. Raises what `History.append` does.
        """
        store = Store(self._context.config.state)
        intent = store.intent()
        if self._read and self._read[0] == intent and now < self._read[1]:
            return []
        starts = _starts(store, intent.digest)
        told = list(due(store, intent, starts, now))
        for text in told:
            store.history.append(Entry(round(now, 3), ORIGIN, DONE, os.geteuid(), change=text))
        moments = [moment for moment in (*starts.values(), intent.paused) if moment > now]
        self._read = intent, min(moments, default=float("inf"))
        return told


def due(store: Store, intent: Intent, starts: Starts, now: float) -> Iterator[str]:
    """What has come to pass and is not in the history: services that started, a pause that ended."""
    started = {name: moment for name, moment in starts.items() if max(moment, intent.paused) <= now}
    over = 0 < intent.paused <= now
    # The history is long, and most policies are for at once.
    told = {entry.change for entry in store.history if entry.origin == ORIGIN} if started or over else set()
    for name, moment in started.items():
        text = f"service {name} is enforced since {utc.moment(moment)}"
        # One that was not waiting for this moment when it came has not started then: it came into the policy later.
        if text not in told and _starts_before(store, moment).get(name) == moment:
            yield text
    text = f"the pause is over since {utc.moment(intent.paused)}: services drop again"
    if over and text not in told:
        yield text


def _starts_before(store: Store, moment: int) -> Starts:
    """When services started by what was in force just before a moment."""
    digests = (entry.digest for entry in store.history if entry.put_in_force and entry.time < moment)
    return next((_starts(store, digest) for digest in deque(digests, maxlen=1)), {})


def _starts(store: Store, digest: str) -> Starts:
    try:
        services = store.ruleset(digest).meta.services
    except DataError:
        return {}  # never loaded, or forgotten
    return {one.name: one.starts for one in services if one.starts is not None and one.mode == "enforce"}
