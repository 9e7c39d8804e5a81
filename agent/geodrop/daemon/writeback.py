"""Write down what could not be written when it happened: the disk was full, read-only, or failing."""

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
    from geodrop.daemon.reload import Reload

INTERVAL = 5.0


class WriteBack:
    """The task that tries."""

    def __init__(self, reload: Reload, parts: DaemonContext) -> None:
        self._reload, self._engine, self._log = reload, parts.engine, parts.log
        self._told: tuple[str, ...] = ()

    async def run(self) -> None:
        """For as long as the daemon lives."""
        while True:
            await self._engine.do(self.once, OWN)
            await asyncio.sleep(INTERVAL)

    def once(self) -> None:
        """Try, and say what is not written, and that it is. Status says it as long as it is so."""
        store = Store(self._reload.config.state)
        with contextlib.suppress(GeodropError):
            store.write_back()
        left = store.unwritten()
        if left and not self._told:
            self._log.error(left[0], kind=Event.UNWRITTEN)
        elif self._told and not left:
            said = "what could not be written down before is written now"
            self._log.info(said, kind=Event.WRITTEN, state=str(store.folder))
        self._told = left
