# SPDX-License-Identifier: Apache-2.0
import asyncio
from typing import Any

import pytest

from geodrop.daemon import scrapes as module
from geodrop.daemon.scrapes import Scrapes
from geodrop.errors import DataError, UnavailableError


class Kernel:
    """A fake kernel that counts its readings; `hold` keeps a reading from ending."""

    def __init__(self) -> None:
        self.reads = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.failure: Exception | None = None

    async def read(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Do one reading."""
        self.reads += 1
        number = self.reads
        await self.hold.wait()
        if self.failure:
            raise self.failure
        return {"number": number}, []


def test_each_client_gets_a_later_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask during a reading share the next one, which begins INTERVAL later."""
    monkeypatch.setattr(module, "INTERVAL", 0.2)

    async def body() -> None:
        kernel = Kernel()
        scrapes = Scrapes(kernel.read)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await scrapes.refresh()
        assert scrapes.last()[0] == {"number": 1}
        await asyncio.gather(*(scrapes.refresh() for _ in range(100)))
        assert scrapes.last()[0] == {"number": 2}
        assert loop.time() - began >= 0.2
        kernel.hold.clear()
        first = asyncio.ensure_future(scrapes.refresh())
        while kernel.reads < 3:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(scrapes.refresh())
        await asyncio.sleep(0)
        kernel.hold.set()
        await asyncio.gather(first, second)
        assert kernel.reads == 4

    asyncio.run(body())


def test_a_client_that_leaves_ends_no_reading() -> None:
    """When a client leaves, others still wait for the same reading."""

    async def body() -> None:
        kernel = Kernel()
        kernel.hold.clear()
        scrapes = Scrapes(kernel.read)
        leaving, staying = (asyncio.ensure_future(scrapes.refresh()) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        kernel.hold.set()
        await staying
        assert scrapes.last()[0] == {"number": 1}

    asyncio.run(body())


def test_what_could_not_be_read_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed or too slow reading is a failure; the previous one is not repeated."""
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    monkeypatch.setattr(module, "SECONDS", 0.05)

    async def body() -> None:
        kernel = Kernel()
        scrapes = Scrapes(kernel.read)
        with pytest.raises(UnavailableError, match="nothing"):
            scrapes.last()
        await scrapes.refresh()
        kernel.failure = DataError("gone")
        await scrapes.refresh()
        with pytest.raises(DataError):
            scrapes.last()
        kernel.hold.clear()
        await scrapes.refresh()
        with pytest.raises(UnavailableError, match="in time"):
            scrapes.last()

    asyncio.run(body())
