# SPDX-License-Identifier: Apache-2.0
"""Record in the history when services start and pauses end. The kernel's clock makes that happen, with or without us.

The recorded moment is the one written in the policy or the pause, whenever it is noticed. The machine's clock is read
every few seconds, so a clock that is set shows at once. Each moment is recorded once: the history tells whether this
daemon or an earlier one has recorded it, before or after the clock was set back.
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
from geodrop.ruleset.ramp import share_text
from geodrop.state.entry import DONE, Entry
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.daemon.context import DaemonContext
    from geodrop.state.intent import Intent

INTERVAL = 5.0
ORIGIN = "schedule"

Starts = dict[str, int]
"""When each enforced service starts or drops a larger share, in seconds since the epoch, by what happens then."""


class Schedule:
    """The task that watches the clock."""

    def __init__(self, context: DaemonContext) -> None:
        self._context, self._kernel_worker, self._log = context, context.kernel_worker, context.log
        self._read: tuple[Intent, float] | None = None

    async def run(self) -> None:
        """Record moments for as long as the daemon lives."""
        while True:
            try:
                recorded = await self._kernel_worker.do(partial(self.once, time.time()))
            except GeodropError as error:
                self._log.error(
                    "starts and ends of pauses could not be recorded", kind=Event.SCHEDULE_FAILED, reason=error.message
                )
                recorded = []
            for text in recorded:
                self._log.warning(text, kind=Event.SCHEDULED)
            await asyncio.sleep(INTERVAL)

    def once(self, now: float) -> list[str]:
        """Record what has happened by `now`, in seconds since the epoch, and return it as texts.

        Reads nothing but the intent while the intent is the same and no moment has come. Raises what `History.append`
        raises.
        """
        store = Store(self._context.config.state)
        intent = store.intent()
        if intent.confirm:
            return []  # which ruleset counts is not decided yet
        if self._read and self._read[0] == intent and now < self._read[1]:
            return []
        starts = _starts(store, intent.digest)
        recorded = dict(due(store, intent, starts, now))
        for text, moment in recorded.items():
            store.history.append(Entry(round(now, 3), ORIGIN, DONE, os.geteuid(), change=text, since=float(moment)))
        moments = [moment for moment in (*starts.values(), intent.paused) if moment > now]
        self._read = intent, min(moments, default=float("inf"))
        return list(recorded)


def due(store: Store, intent: Intent, starts: Starts, now: float) -> Iterator[tuple[str, int]]:
    """Yield what has happened and is not in the history, and when: services that started, a pause that ended."""
    started = {what: moment for what, moment in starts.items() if max(moment, intent.paused) <= now}
    over = 0 < intent.paused <= now
    # The history is long and most policies start at once, so it is read only if something is due.
    recorded = {entry.change for entry in store.history if entry.origin == ORIGIN} if started or over else set()
    for what, moment in started.items():
        text = f"{what} since {utc.moment(moment)}"
        # A service whose policy was loaded after this moment did not start at that moment.
        if text not in recorded and _starts_before(store, moment).get(what) == moment:
            yield text, moment
    text = f"the pause is over since {utc.moment(intent.paused)}: services drop again"
    if over and text not in recorded:
        yield text, intent.paused


def _starts_before(store: Store, moment: int) -> Starts:
    """Return the starts of services by the ruleset that was in force just before a moment."""
    digests = (entry.digest for entry in store.history if entry.put_in_force and entry.time < moment)
    return next((_starts(store, digest) for digest in deque(digests, maxlen=1)), {})


def _starts(store: Store, digest: str) -> Starts:
    try:
        services = store.ruleset(digest).meta.services
    except DataError:
        return {}  # never loaded, or no longer kept
    enforced = [one for one in services if one.mode == "enforce"]
    found = {f"service {one.name} is enforced": one.starts for one in enforced if one.starts is not None}
    return found | {
        f"service {one.name} drops {share_text(share)} of denied sources": moment
        for one in enforced
        for moment, share in one.ramp
        if moment
    }
