"""What nftables' counters stand at, every few seconds, so that they go on from there when somebody flushes them away.

Prometheus would take zero for a restart of the host, and whoever looks for what was dropped would look in vain. The
counters of xdp are in a map of their own, which no flush reaches.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from geodrop.daemon.watch.drops import Drops
from geodrop.daemon.worker import OWN
from geodrop.dataplane.both import BothEngines
from geodrop.errors import GeodropError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.daemon.worker import Worker

INTERVAL = 5.0
"""Seconds; what was counted since the last reading is lost."""


class Tally:
    """The task that reads them. `totals` are packets and bytes by the name of the counter, `drops` those of late."""

    def __init__(self, engine: Worker) -> None:
        self._kernel_worker = engine
        self.totals: Mapping[str, tuple[int, int]] = {}
        self.drops = Drops()

    async def run(self) -> None:
        """For as long as the daemon lives."""
        while True:
            with contextlib.suppress(GeodropError, OSError):
                # Nothing is there where somebody has just flushed: that is when the last reading is wanted.
                self.totals = await self._kernel_worker.do(_read, OWN) or self.totals
                self.drops.note(await self._kernel_worker.do(_dropped, OWN), time.monotonic())
            await asyncio.sleep(INTERVAL)

    def forget(self) -> None:
        """They begin at zero again, since somebody wanted to have nothing of ours in the kernel."""
        self.totals = {}
        self.drops = Drops()


def _read() -> Mapping[str, tuple[int, int]]:
    return BothEngines.here().nftables.totals()


def _dropped() -> int:
    """Packets, on both engines."""
    return sum(count.dropped[0] for count in BothEngines.here().counters())
