# SPDX-License-Identifier: Apache-2.0
"""Inspect after every event, repair differences, follow interfaces that come and go.

Inspections run one at a time. Events that come meanwhile share the next one, which begins PAUSE later: so a program
that commits a thousand times a second costs ten inspections, and each of its changes is repaired within that time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop.daemon.event import Event
from geodrop.daemon.watch.events import Causes, Events
from geodrop.daemon.watch.lasting import Lasting
from geodrop.daemon.watch.repairs import Repair, Repairs
from geodrop.daemon.watch.tally import Tally
from geodrop.daemon.worker import REPAIR
from geodrop.errors import GeodropError, NoInterfaceError, UnavailableError
from geodrop.operations.repair import Baseline, Inspection, inspect, summary
from geodrop.state.entry import ChangeRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.daemon.context import DaemonContext
    from geodrop.engine.api import Observed

PAUSE = 0.1
RETRY = 60.0
"""Seconds to the next try after a failed inspection, at most; the first pause is one second."""


class Watch:
    """The task that inspects. `repairs` is what it repaired so far, `failure` why the last inspection failed, if it
    did.
    """

    def __init__(self, context: DaemonContext, on_repair: Callable[[], None]) -> None:
        self.events = Events()
        self.repairs = Repairs()
        self.lasting = Lasting()
        self.tally = Tally(context.kernel_worker)
        self.failure = ""
        self._context, self._on_repair = context, on_repair
        self._kernel_worker, self._log = context.kernel_worker, context.log
        self._known = Baseline()
        self._retry = 1.0
        self._later: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Inspect once, and then after every event."""
        causes = Causes(links=True, since=time.monotonic())
        while True:
            await self._look(causes)
            await asyncio.sleep(PAUSE)
            causes = await self.events.wait()

    def as_object(self) -> dict[str, Any]:
        """Return the part of `status --json`: repairs since the start, newest first, and drops of the last minute."""
        return {
            "repaired": self.repairs.total,
            "repairs": [repair.as_object() for repair in reversed(self.repairs.last)],
            "dropped": self.tally.drops.as_object(),
        }

    def problems(self) -> list[str]:
        """Return what is wrong now, a line each."""
        found = [*self.lasting.problems(), *self.repairs.problems(time.monotonic())]
        return (
            [f"what is in force could not be inspected or repaired: {self.failure}", *found] if self.failure else found
        )

    async def _look(self, causes: Causes) -> None:
        few = self.repairs.are_few(time.monotonic())
        noticed = round(time.time() - (time.monotonic() - causes.since), 3)
        asked = ChangeRequest("repair", os.geteuid(), why=causes.culprit, since=noticed) if few else None
        known = replace(self._known, totals=self.tally.totals)
        found = tuple(causes.found)
        try:
            # Take the configuration when the job runs: a reload that goes first may replace it.
            job = partial(
                inspect, known=known, asked=asked, links_changed=causes.links, found=found, again=causes.again
            )
            with self._context.tasks.failing("watch"):
                seen = await self._kernel_worker.do(lambda: job(self._context.config), REPAIR)
        except GeodropError as error:
            self._failed(error, causes)
            return
        self._known = seen.known
        if seen.failure:
            self._failed(UnavailableError(seen.failure), causes)
        else:
            self.failure, self._retry = "", 1.0
        if self._lasts(seen, causes):
            return
        if seen.differences:
            self._on_repair()
            what, generation = summary(seen.differences), seen.known.observed.generation
            repair = Repair(time.time(), causes.culprit, what, generation, time.monotonic() - causes.since)
            self._context.metrics.repaired()
            unsaid = self.repairs.add(repair, time.monotonic())
            if unsaid is not None:
                more = {"unsaid": unsaid} if unsaid else {}
                self._log.warning(
                    "repaired what another program changed",
                    kind=Event.REPAIRED,
                    culprit=repair.culprit,
                    what=what,
                    generation=generation,
                    seconds=round(repair.seconds, 3),
                    **more,
                )
        elif seen.interfaces_changed:
            self._log.info(
                "interfaces changed",
                kind=Event.INTERFACES_CHANGED,
                before=_shown(seen.before),
                now=_shown(seen.known.observed),
            )

    def _lasts(self, seen: Inspection, causes: Causes) -> bool:
        """Whether differences come back after each repair; schedules the next try."""
        lasting = seen.known.lasting
        if not lasting:
            self.lasting.gone()
        elif seen.differences:
            what = summary(lasting)
            delay = self.lasting.tried(what, causes.culprit, time.time())
            self._log.error(
                "a repair did not last",
                kind=Event.REPAIR_DID_NOT_LAST,
                what=what,
                culprit=self.lasting.culprit,
                tries=self.lasting.tries,
                again=delay,
            )
            if self._later:
                self._later.cancel()
            self._later = asyncio.get_running_loop().call_later(delay, self.events.again)
        return bool(lasting)

    def _failed(self, error: GeodropError, causes: Causes) -> None:
        """Log once, then retry the same work with exponential backoff."""
        text = error.problem
        if text != self.failure:
            level = logging.WARNING if isinstance(error, NoInterfaceError) else logging.ERROR
            said = "the inspection of what is in force failed"
            self._log.log(level, said, kind=Event.LOOK_FAILED, reason=text, culprit=causes.culprit)
        self.failure = text
        asyncio.get_running_loop().call_later(self._retry, self.events.audited, causes.found)
        self.events.forget_pins()
        self._known = Baseline(observed=self._known.observed)
        self._retry = min(2 * self._retry, RETRY)


def _shown(observed: Observed) -> str:
    return " ".join(f"{one.name}:{one.engine}" for one in observed.interfaces) or "none"
