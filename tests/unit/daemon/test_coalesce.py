# SPDX-License-Identifier: Apache-2.0
import asyncio
from collections.abc import Callable

import pytest

from geodrop.daemon.coalesce import Coalesced
from geodrop.errors import ApplyError


class Work:
    """Runs that end when the test says so; each returns its number, or raises."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[None]] = []

    async def __call__(self, say: Callable[[str], None]) -> int:
        """Do one run."""
        self.begun.append(asyncio.get_running_loop().create_future())
        number = len(self.begun)
        say(f"run {number}")
        await self.begun[-1]
        return number

    async def until(self, count: int) -> None:
        """Wait until `count` runs have begun."""
        await settle()
        assert len(self.begun) == count


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def nobody(_: str) -> None:
    """Ignore phases."""


def test_all_who_ask_during_a_run_share_the_next() -> None:
    """The run under way may have read its input before they asked, so its result is no answer for them."""

    async def body() -> None:
        work = Work()
        coalesced = Coalesced(work)
        first = asyncio.ensure_future(coalesced.ask(nobody))
        await work.until(1)
        later = [asyncio.ensure_future(coalesced.ask(nobody)) for _ in range(5)]
        await settle()
        assert len(work.begun) == 1, "one at a time"
        work.begun[0].set_result(None)
        assert await first == 1
        await work.until(2)
        last = asyncio.ensure_future(coalesced.ask(nobody))
        await settle()
        work.begun[1].set_result(None)
        assert await asyncio.gather(*later) == [2] * 5
        await work.until(3)
        work.begun[2].set_result(None)
        assert await last == 3

    asyncio.run(body())


def test_all_who_ask_before_it_begins_share_it() -> None:
    """Callers that ask in the same moment share one run."""

    async def body() -> None:
        work = Work()
        coalesced = Coalesced(work)
        asked = [asyncio.ensure_future(coalesced.ask(nobody)) for _ in range(3)]
        await work.until(1)
        work.begun[0].set_result(None)
        assert await asyncio.gather(*asked) == [1, 1, 1]
        await settle()
        assert len(work.begun) == 1

    asyncio.run(body())


def test_a_failure_reaches_each_and_ends_there() -> None:
    """Each caller that shared the run gets what it raised; the next run is independent."""

    async def body() -> None:
        work = Work()
        coalesced = Coalesced(work)
        asked = [asyncio.ensure_future(coalesced.ask(nobody)) for _ in range(2)]
        await work.until(1)
        after = asyncio.ensure_future(coalesced.ask(nobody))
        await settle()
        work.begun[0].set_exception(ApplyError("no"))
        for one in asked:
            with pytest.raises(ApplyError):
                await one
        await work.until(2)
        work.begun[1].set_result(None)
        assert await after == 2

    asyncio.run(body())


def test_who_goes_away_does_not_end_the_work() -> None:
    """A run goes on for the others, and even without any, when a caller goes away."""

    async def body() -> None:
        work = Work()
        coalesced = Coalesced(work)
        impatient, patient = (asyncio.ensure_future(coalesced.ask(nobody)) for _ in range(2))
        await work.until(1)
        impatient.cancel()
        await settle()
        work.begun[0].set_result(None)
        assert await patient == 1

    asyncio.run(body())


def test_phases_reach_all_who_share_the_run() -> None:
    """Phases reach the callers of this run, and no others."""

    async def body() -> None:
        work = Work()
        coalesced = Coalesced(work)
        heard: list[list[str]] = [[], []]
        first = asyncio.ensure_future(coalesced.ask(heard[0].append))
        await work.until(1)
        second = asyncio.ensure_future(coalesced.ask(heard[1].append))
        await settle()
        work.begun[0].set_result(None)
        await work.until(2)
        work.begun[1].set_result(None)
        await asyncio.gather(first, second)
        assert heard == [["run 1"], ["run 2"]]

    asyncio.run(body())
