"""Connections, places and descriptors: what strangers can hold, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING

from geodrop.daemon import listener
from geodrop.daemon.listener import Listener, OpenConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import pytest

PLACES = 4


def bound(path: Path) -> socket.socket:
    """A socket that nobody listens on so far."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path / "s"))
    return made


def client(path: Path) -> socket.socket:
    """One that is connected, or waits in the kernel's queue."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path / "s"))
    made.settimeout(0)
    return made


async def echo(connection: OpenConnection) -> None:
    """Answer four bytes with themselves."""
    said = await connection.exactly(4)
    connection.asked()
    await connection.send(said)


async def answered(one: socket.socket, said: bytes = b"ping") -> bytes:
    """What is answered, until the end."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(one, said)
    received = b""
    async with asyncio.timeout(20):
        while piece := await loop.sock_recv(one, 100):
            received += piece
    return received


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def listening(
    path: Path, serve: Callable[[OpenConnection], Awaitable[None]] = echo, **options: int
) -> Iterator[Listener]:
    """A listener of few places, closed with the body."""
    made = Listener(bound(path), serve, **{"places": PLACES, **options})
    try:
        yield made
    finally:
        made.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the other side tells nobody
            await asyncio.sleep(0.01)


def ended(one: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_who_has_waited_longest_gives_way(tmp_path: Path) -> None:
    """With all places taken by clients that say nothing, the next is served; the first has gone, the last has not."""

    async def body() -> None:
        with listening(tmp_path), contextlib.ExitStack() as stack:
            silent = [stack.enter_context(client(tmp_path)) for _ in range(PLACES)]
            with client(tmp_path) as one:
                assert await answered(one) == b"ping"
            assert ended(silent[0])
            assert not ended(silent[-1])

    asyncio.run(body())


def test_a_burst_takes_no_more_than_the_places(tmp_path: Path) -> None:
    """A hundred at once: at no time is more than its places accepted, and all who ask are answered."""
    most = 0

    async def serve(connection: OpenConnection) -> None:
        nonlocal most
        most = max(most, descriptors())
        await echo(connection)

    async def body() -> None:
        with listening(tmp_path, serve), contextlib.ExitStack() as stack:
            burst = [stack.enter_context(client(tmp_path)) for _ in range(100)]
            before = descriptors()
            with client(tmp_path) as one:
                assert await answered(one) == b"ping"
            await until(lambda: sum(map(ended, burst)) >= len(burst) - PLACES)
            # The client that asks has a descriptor of its own.
            assert before < most <= before + 1 + PLACES

    asyncio.run(body())


def test_each_has_a_moment_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives way as soon as he has come: a crowd waits in the kernel's queue until somebody had his moment."""
    monkeypatch.setattr(listener, "MOMENT", 1000.0)

    async def body() -> None:
        with listening(tmp_path), contextlib.ExitStack() as stack:
            first = [stack.enter_context(client(tmp_path)) for _ in range(PLACES)]
            crowd = [stack.enter_context(client(tmp_path)) for _ in range(50)]
            for one in first:
                assert await answered(one) == b"ping"
            assert not any(map(ended, crowd))

    asyncio.run(body())


def test_who_has_asked_keeps_no_place(tmp_path: Path) -> None:
    """Places are for those who have not: what is asked for is counted by whoever serves it."""
    hold = asyncio.Event()

    async def serve(connection: OpenConnection) -> None:
        said = await connection.exactly(4)
        connection.asked()
        if said == b"hold":
            await hold.wait()
        await connection.send(said)

    async def body() -> None:
        with listening(tmp_path, serve), contextlib.ExitStack() as stack:
            holding = [stack.enter_context(client(tmp_path)) for _ in range(3 * PLACES)]
            waiting = [asyncio.ensure_future(answered(one, b"hold")) for one in holding]
            with client(tmp_path) as one:
                assert await answered(one) == b"ping"
            hold.set()
            assert await asyncio.gather(*waiting) == [b"hold"] * len(holding)

    asyncio.run(body())


def test_descriptors_are_left(tmp_path: Path) -> None:
    """Near the limit silent clients give way to one who asks, and no more are accepted until there is room again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        with listening(tmp_path, left=8, places=1000), contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(client(tmp_path)) for _ in range(60)]
            with client(tmp_path) as one:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, limits[1]))
                assert await answered(one) == b"ping"
                for _ in range(8):
                    stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert any(map(ended, crowd))
            with client(tmp_path) as one:
                assert await answered(one) == b"ping"

    try:
        asyncio.run(body())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_no_descriptor_at_all(tmp_path: Path) -> None:
    """The kernel has none to give: whoever connects waits in its queue until it has, and nothing ends."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        with listening(tmp_path), client(tmp_path) as one:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() - 1, limits[1]))
            waiting = asyncio.ensure_future(answered(one))
            await asyncio.sleep(3 * listener.REST)
            assert not waiting.done()
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert await waiting == b"ping"

    try:
        asyncio.run(body())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    """Closing ends those that are connected as well."""

    async def body() -> None:
        before = descriptors()
        with listening(tmp_path):
            clients = [client(tmp_path) for _ in range(PLACES)]
            await until(lambda: descriptors() == before + 1 + 2 * PLACES)
        await until(lambda: all(map(ended, clients)))
        for one in clients:
            one.close()
        assert descriptors() == before

    asyncio.run(body())


def test_an_offer_is_dropped_for_who_does_not_read(tmp_path: Path) -> None:
    """Nobody waits for it; a client that got a part of it gets nothing more, and no message of two halves."""
    outcome: list[object] = []

    async def serve(connection: OpenConnection) -> None:
        await connection.exactly(4)
        connection.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for _ in range(100):
            connection.offer(bytes(100_000))
        try:
            await asyncio.wait_for(connection.send(b"end"), 0.01)
        except (ConnectionAbortedError, TimeoutError) as failure:
            outcome.append(failure)

    async def body() -> None:
        with listening(tmp_path, serve), client(tmp_path) as one:
            one.send(b"ping")
            await until(lambda: bool(outcome))

    asyncio.run(body())
