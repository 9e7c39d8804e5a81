# SPDX-License-Identifier: Apache-2.0
"""Write what could not be written when it happened, because the disk was full, read-only or failing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.daemon.worker import OWN
from geodrop.errors import GeodropError
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.daemon.context import DaemonContext

INTERVAL = 5.0


class WriteBack:
    """The task that retries the writes."""

    def __init__(self, context: DaemonContext) -> None:
        self._context, self._kernel_worker, self._log = context, context.kernel_worker, context.log
        self._told: tuple[str, ...] = ()

    async def run(self) -> None:
        """Retry for as long as the daemon lives."""
        while True:
            await self._kernel_worker.do(self.once, OWN)
            await asyncio.sleep(INTERVAL)

    def once(self) -> None:
        """Try once; log the first failure and the success after it. Status shows what is unwritten all the while."""
        store = Store(self._context.config.state)
        with contextlib.suppress(GeodropError):
            store.write_back()
        left = store.unwritten()
        if left and not self._told:
            self._log.error(left[0], kind=Event.UNWRITTEN)
        elif self._told and not left:
            said = "what could not be written before is written now"
            self._log.info(said, kind=Event.WRITTEN, state=str(store.folder))
        self._told = left
