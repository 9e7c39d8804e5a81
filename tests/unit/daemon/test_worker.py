import asyncio
import threading
from functools import partial

import pytest

from geodrop.daemon.worker import CHANGE, READ, Worker
from geodrop.errors import DataError


def test_one_thread_in_order() -> None:
    """Jobs run one after the other on the same thread, which is not the loop's."""

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


def test_changes_go_before_reads() -> None:
    """What waits in the queue is overtaken by a change; what runs is not interrupted."""

    async def body() -> None:
        worker = Worker("test")
        hold = threading.Event()
        done: list[str] = []
        running = worker.start(hold.wait)
        reads = [worker.start(lambda: done.append("read"), READ) for _ in range(3)]
        change = worker.start(lambda: done.append("change"), CHANGE)
        hold.set()
        await asyncio.gather(running, change, *reads)
        assert done == ["change", "read", "read", "read"]

    asyncio.run(body())


def test_what_a_job_raises_is_raised_where_it_is_waited_for() -> None:
    """And the thread goes on, whatever it was."""

    async def body() -> None:
        worker = Worker("test")

        def fail(failure: BaseException) -> None:
            raise failure

        for failure in (DataError("bad"), ZeroDivisionError(), OSError(5, "Input/output error")):
            with pytest.raises(type(failure)):
                await worker.do(partial(fail, failure))
        # These would end the loop, the task that waits, or nobody's waiting at all.
        for ending in (SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(), GeneratorExit()):
            with pytest.raises(RuntimeError, match=f"{type(ending).__name__} out of a job"):
                await asyncio.wait_for(worker.do(partial(fail, ending)), 60)
        assert await worker.do(lambda: 7) == 7

    asyncio.run(body())


def test_nobody_waits_any_more() -> None:
    """A job whose caller was cancelled, or whose loop is closed, does not stop the thread."""
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
