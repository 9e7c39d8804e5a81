# SPDX-License-Identifier: Apache-2.0
"""Read the data of metrics for scrapes, at most once a second, however many clients ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from geodrop.errors import GeodropError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Found = tuple[dict[str, Any], list[dict[str, Any]]]

INTERVAL = 1.0
"""Seconds between two readings. Every user of the machine can ask, and more readings would be wasted work."""

SECONDS = 10.0
"""Limit of one reading: Prometheus, by default, waits no longer."""


class Scrapes:
    """Reads the objects of `status` and `counters`; all who ask share the next reading that begins."""

    def __init__(self, read: Callable[[], Awaitable[Found]]) -> None:
        self._read = read
        self._found: Found | GeodropError | OSError = UnavailableError("nothing was read so far")
        self._next: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()
        self._began = -INTERVAL

    async def refresh(self) -> None:
        """Wait for a reading that begins after this call. Cancelling this call does not end the reading."""
        if self._next is None:
            self._next = asyncio.create_task(self._take())
        await asyncio.shield(self._next)

    def last(self) -> Found:
        """Return the last reading. Raises GeodropError or OSError if it failed. May be called from any thread."""
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    async def _take(self) -> None:
        async with self._one:
            clock = asyncio.get_running_loop().time
            await asyncio.sleep(self._began + INTERVAL - clock())
            self._next, self._began = None, clock()
            try:
                async with asyncio.timeout(SECONDS):
                    self._found = await self._read()
            except TimeoutError:
                self._found = UnavailableError("the kernel could not be read in time")
            except (GeodropError, OSError) as failure:
                self._found = failure
