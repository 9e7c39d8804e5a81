"""A while after a quick change, when nobody waits any more: have the thin generation followed by a whole one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.dataplane.settle import settle
from geodrop.errors import GeodropError

if TYPE_CHECKING:
    from geodrop.daemon.parts import Parts
    from geodrop.daemon.reload import Reload

QUIET = 2.0
"""Seconds without another change: who makes one often makes the next."""

RETRY = 600.0
"""Seconds until the next try, where one has failed."""


class Settle:
    """The task that does it. `soon` is to be called after each quick change."""

    def __init__(self, reload: Reload, parts: Parts) -> None:
        self._reload, self._engine, self._log = reload, parts.engine, parts.log
        self._changes = 0
        self._changed = asyncio.Event()
        self.soon()  # what an earlier daemon has left

    def soon(self) -> None:
        """There may be a thin generation in force."""
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
        """If there is one. If that fails, the thin one judges just as well, and there is time to try again."""
        try:
            observed = await self._engine.do(lambda: settle(self._reload.config))
        except (GeodropError, OSError) as error:
            said = "the maps could not be made whole; packets take a lookup more"
            self._log.warning(said, kind=Event.MAPS_NOT_WHOLE, reason=str(error))
            asyncio.get_running_loop().call_later(RETRY, self.soon)
            return
        if observed:
            self._log.info("the maps are whole again", kind=Event.MAPS_WHOLE, generation=observed.generation)
