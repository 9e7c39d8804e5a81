"""A while after a change, when nobody waits: a thin generation is followed by a whole one, and regions are counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.daemon.worker import OWN
from geodrop.errors import BusyError, GeodropError
from geodrop.operations.compact import compact
from geodrop.operations.regions import tell_regions_apart

if TYPE_CHECKING:
    from geodrop.daemon.context import DaemonContext

QUIET = 2.0
"""Seconds without another change: who makes one often makes the next."""

RETRY = 600.0
"""Seconds until the next try, where one has failed."""


class Compaction:
    """The task that does it. `schedule` is to be called after each change."""

    def __init__(self, context: DaemonContext) -> None:
        self._context, self._kernel_worker, self._log = context, context.kernel_worker, context.log
        self._changes = 0
        self._changed = asyncio.Event()
        self.schedule()  # what an earlier daemon has left

    def schedule(self) -> None:
        """There may be a thin generation in force, or one that counts regions as `other`."""
        self._changes += 1
        self._changed.set()

    async def run(self) -> None:
        """For as long as the daemon lives."""
        while True:
            await self._changed.wait()
            seen = self._changes
            await asyncio.sleep(QUIET)
            if seen == self._changes:
                await self.once()
            # Not before, so that one which met a bug is begun again with it.
            if seen == self._changes:
                self._changed.clear()

    async def once(self) -> None:
        """What there is of it. If it fails, what is in force judges just as well, and there is time to try again."""
        try:
            observed = await self._kernel_worker.do(lambda: compact(self._context.config))
            if observed:
                self._log.info("the maps are whole again", kind=Event.MAPS_WHOLE, generation=observed.generation)
        except (GeodropError, OSError) as error:
            said = "the maps could not be made whole; packets take a lookup more"
            self._log.warning(said, kind=Event.MAPS_NOT_WHOLE, reason=str(error))
            self._again()
            return
        try:
            if await self._kernel_worker.do(lambda: tell_regions_apart(self._context.config), OWN):
                self._log.info("regions are told apart in the counters of nftables", kind=Event.REGIONS_APART)
        except BusyError:
            return  # what could not wait is followed by it too
        except (GeodropError, OSError) as error:
            self._log.warning("regions count as `other` on nftables", kind=Event.REGIONS_NOT_APART, reason=str(error))
            self._again()

    def _again(self) -> None:
        asyncio.get_running_loop().call_later(RETRY, self.schedule)
