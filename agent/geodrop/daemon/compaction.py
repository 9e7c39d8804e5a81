# SPDX-License-Identifier: Apache-2.0
"""Compact overlays and split counters by region, a while after a change, when no caller waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.daemon.worker import OWN
from geodrop.errors import BusyError, GeodropError
from geodrop.operations.compact import compact
from geodrop.operations.regions import count_regions

if TYPE_CHECKING:
    from geodrop.daemon.context import DaemonContext

QUIET = 2.0
"""Seconds without another change: changes often come in groups."""

RETRY = 600.0
"""Seconds until the next try after a failure."""


class Compaction:
    """The task that compacts. Call `schedule` after each change."""

    def __init__(self, context: DaemonContext) -> None:
        self._context, self._kernel_worker, self._log = context, context.kernel_worker, context.log
        self._changes = 0
        self._changed = asyncio.Event()
        self.schedule()  # an earlier daemon may have left an overlay

    def schedule(self) -> None:
        """Ask for a run: an overlay may be in force, or counters not split by region yet."""
        self._changes += 1
        self._changed.set()

    async def run(self) -> None:
        """Compact after each group of changes, for as long as the daemon lives."""
        while True:
            await self._changed.wait()
            seen = self._changes
            await asyncio.sleep(QUIET)
            if seen == self._changes:
                await self.once()
            # Clear only afterwards, so that a run that met a bug is repeated when the task is started again.
            if seen == self._changes:
                self._changed.clear()

    async def once(self) -> None:
        """Do what is due. If it fails, the generation in force judges just as well, and the next try is in RETRY
        seconds.
        """
        try:
            observed = await self._kernel_worker.do(lambda: compact(self._context.config))
            if observed:
                self._log.info(
                    "the overlay is compacted into whole maps", kind=Event.MAPS_WHOLE, generation=observed.generation
                )
        except (GeodropError, OSError) as error:
            said = "the overlay could not be compacted; packets take one more lookup"
            self._log.warning(said, kind=Event.MAPS_NOT_WHOLE, reason=str(error))
            self._again()
            return
        try:
            if await self._kernel_worker.do(lambda: count_regions(self._context.config), OWN):
                self._log.info("the counters of nftables are split by region", kind=Event.REGIONS_APART)
        except BusyError:
            return  # the change that could not wait schedules this as well
        except (GeodropError, OSError) as error:
            self._log.warning(
                "the counters of nftables could not be split by region", kind=Event.REGIONS_NOT_APART, reason=str(error)
            )
            self._again()

    def _again(self) -> None:
        asyncio.get_running_loop().call_later(RETRY, self.schedule)
