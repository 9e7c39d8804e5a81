# SPDX-License-Identifier: Apache-2.0
import asyncio
import threading
from functools import partial

import pytest

from geodrop.daemon.worker import CHANGE, OWN, PAUSE, READ, REPAIR, UNLOAD, VISIT, Worker
from geodrop.errors import DataError
from geodrop.report.pieces import Pieces


def test_one_thread_in_order() -> None:
    """Jobs run one after the other on the same thread, which is not the event loop's."""

    async def body() -> None:
        worker = Worker("test")
        done: list[tuple[int, int]] = []

        def note(number: int) -> None:
            done.append((number, threading.get_ident()))

        jobs = [worker.do(partial(note, number)) for number in range(5)]
        await asyncio.gather(*jobs)
        assert [number for number, _ in done] == [0, 1, 2, 3, 4]
        [thread] = {thread for _, thread in done}
        assert thread != threading.get_ident()

    asyncio.run(body())


def test_what_goes_before_what() -> None:
    """Jobs run by priority, whatever was asked for first: an unload, repairs, a pause, other changes, the daemon's own
    reads, reads of users who may change things, other reads. A running job is not interrupted.
    """

    async def body() -> None:
        worker = Worker("test")
        hold = threading.Event()
        done: list[int] = []
        running = worker.start(hold.wait)
        order = (UNLOAD, REPAIR, PAUSE, CHANGE, OWN, READ, VISIT)
        jobs = [worker.start(partial(done.append, priority), priority) for priority in reversed(order)]
        jobs += [worker.start(partial(done.append, priority), priority) for priority in (VISIT, REPAIR)]
        hold.set()
        await asyncio.gather(running, *jobs)
        assert done == [UNLOAD, REPAIR, REPAIR, PAUSE, CHANGE, OWN, READ, VISIT, VISIT]

    asyncio.run(body())


def pieces(done: list[str], name: str, count: int) -> Pieces[str]:
    """Return a reading of `count` pieces, each noted in `done`."""
    for _ in range(count):
        done.append(name)
        yield
    return name


def test_a_change_waits_for_one_piece() -> None:
    """A change waits for one piece of a long read only, and a repair comes before both."""

    async def body() -> None:
        worker = Worker("test")
        hold = threading.Event()
        done: list[str] = []
        running = worker.start(hold.wait)
        read = asyncio.ensure_future(worker.read_long(pieces(done, "read", 3), READ, 1000))
        await asyncio.sleep(0)

        async def change() -> None:
            done.append("asked")
            await worker.do(lambda: done.append("change"))

        changing = asyncio.ensure_future(change())
        await asyncio.sleep(0)
        hold.set()
        assert await read == "read"
        await asyncio.gather(running, changing)
        assert done == ["asked", "change", "read", "read", "read"]

    asyncio.run(body())


def test_each_user_has_his_turn() -> None:
    """However much one user asks for, another gets every second turn from its first request on; neither starves."""

    async def body() -> None:
        worker = Worker("test")
        hold = threading.Event()
        done: list[str] = []
        running = worker.start(hold.wait)
        asked = [
            asyncio.ensure_future(worker.read(partial(done.append, name), READ, uid))
            for name, uid, count in (("much", 1, 30), ("little", 2, 5))
            for _ in range(count)
        ]
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(running, *asked)
        assert done == ["much", "little"] * 5 + ["much"] * 25
        again = [asyncio.ensure_future(worker.read(partial(done.append, name), READ, 2)) for name in ("a", "b")]
        await asyncio.gather(*again)
        assert done[-2:] == ["a", "b"]

    asyncio.run(body())


def test_what_nobody_waits_for_is_not_read() -> None:
    """A read whose caller has left is skipped; a change is made all the same."""

    async def body() -> None:
        worker = Worker("test")
        hold = threading.Event()
        done: list[str] = []
        running = worker.start(hold.wait)
        jobs = [worker.start(partial(done.append, str(priority)), priority) for priority in (CHANGE, OWN, READ, VISIT)]
        for job in jobs:
            job.cancel()
        hold.set()
        await running
        await worker.do(lambda: None, VISIT)
        assert done == [str(CHANGE)]

    asyncio.run(body())


def test_what_a_job_raises_is_raised_where_it_is_waited_for() -> None:
    """An exception reaches the caller that waits, and the thread goes on, whatever it was."""

    async def body() -> None:
        worker = Worker("test")

        def fail(failure: BaseException) -> None:
            raise failure

        for failure in (DataError("bad"), ZeroDivisionError(), OSError(5, "Input/output error")):
            with pytest.raises(type(failure)):
                await worker.do(partial(fail, failure))
        # Unchanged, these would end the event loop or the waiting task, or leave the caller waiting.
        for ending in (SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(), GeneratorExit()):
            with pytest.raises(RuntimeError, match=f"{type(ending).__name__} out of a job"):
                await asyncio.wait_for(worker.do(partial(fail, ending)), 60)
        assert await worker.do(lambda: 7) == 7

    asyncio.run(body())


def test_nobody_waits_any_more() -> None:
    """A job whose caller was cancelled, or whose event loop is closed, does not stop the thread."""
    worker = Worker("test")
    hold = threading.Event()

    async def leave() -> None:
        asked = asyncio.ensure_future(worker.do(hold.wait))
        await asyncio.sleep(0)
        asked.cancel()

    asyncio.run(leave())
    hold.set()

    async def again() -> int:
        return await worker.do(lambda: 8)

    assert asyncio.run(again()) == 8
