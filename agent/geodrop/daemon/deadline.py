# SPDX-License-Identifier: Apache-2.0
"""Find out that the kernel has gone back from a load that was not confirmed: record it, tidy up, say it in the log.

Packets go back by the kernel's own clock, whether a daemon runs or not. An undo that another process has recorded is
said here too, once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.errors import GeodropError
from geodrop.operations.change import finish_undo
from geodrop.operations.window import left
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.daemon.context import DaemonContext
    from geodrop.state.unconfirmed import Undone

INTERVAL = 5.0
"""Seconds between two looks, at most. No load waits for less than twice as long."""
MARGIN = 0.05
"""Seconds from the deadline until the look: nftables may go back up to a tick of the kernel later than xdp."""


class Deadline:
    """The task that waits for deadlines."""

    def __init__(self, context: DaemonContext) -> None:
        self._context, self._kernel_worker = context, context.kernel_worker
        self._log, self._metrics = context.log, context.metrics
        self._said: Undone | None = None

    async def run(self) -> None:
        """Look after each deadline, for as long as the daemon lives."""
        while True:
            rest = await self.once()
            await asyncio.sleep(rest)

    async def once(self) -> float:
        """Record what was undone, and say it; return the seconds until the next look."""
        try:
            undone, rest = await self._kernel_worker.do(lambda: look(self._context.config))
        except (GeodropError, OSError) as error:
            said = "it could not be found out whether a load was undone"
            self._log.error(said, kind=Event.DEADLINE_FAILED, reason=str(error))
            return INTERVAL
        if undone and undone != self._said:
            self._metrics.undone()
            self._log.critical(
                f"{undone}: what was in force before it judges again", kind=Event.UNDONE, digest=undone.digest[:12]
            )
        self._said = undone
        return INTERVAL if rest is None else min(INTERVAL, max(rest, 0.0) + MARGIN)


def look(config: Config) -> tuple[Undone | None, float | None]:
    """Record what is over; return the last load that was undone, and the seconds until the next deadline, if any."""
    finish_undo(config)
    intent = Store(config.state).intent()
    return intent.undone, left(intent.confirm) if intent.confirm else None
