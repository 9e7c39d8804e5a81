# SPDX-License-Identifier: Apache-2.0
"""Read the totals of nftables' counters every few seconds, so that they can continue after a flush.

Prometheus would take zero for a restart of the host, and an operator would not find what was dropped. The counters of
xdp are in a map of their own, which no flush reaches.
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
"""Seconds between readings; what was counted since the last reading is lost."""


class Tally:
    """The task that reads them. `totals` are packets and bytes by counter name, `drops` those of the last minute."""

    def __init__(self, engine: Worker) -> None:
        self._kernel_worker = engine
        self.totals: Mapping[str, tuple[int, int]] = {}
        self.drops = Drops()

    async def run(self) -> None:
        """Read for as long as the daemon lives."""
        while True:
            with contextlib.suppress(GeodropError, OSError):
                # Right after a flush nothing can be read: then the last reading is the one that is needed.
                self.totals = await self._kernel_worker.do(_read, OWN) or self.totals
                self.drops.note(await self._kernel_worker.do(_dropped, OWN), time.monotonic())
            await asyncio.sleep(INTERVAL)

    def forget(self) -> None:
        """Let the counters begin at zero, after a user asked to remove everything of ours from the kernel."""
        self.totals = {}
        self.drops = Drops()


def _read() -> Mapping[str, tuple[int, int]]:
    return BothEngines.here().nftables.totals()


def _dropped() -> int:
    """Return the packets dropped on both engines."""
    return sum(count.dropped[0] for count in BothEngines.here().counters())
