# SPDX-License-Identifier: Apache-2.0
"""Connections, places and descriptors: what untrusted clients can hold, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING

from geodrop.daemon import listener
from geodrop.daemon.listener import Listener, OpenConnection
from tests.support.descriptors import left_open, open_descriptors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import pytest

PLACES = 4


def bound(path: Path) -> socket.socket:
    """Return a bound socket that does not listen yet."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path / "s"))
    return made


def client(path: Path) -> socket.socket:
    """Return a client that is connected, or waits in the kernel's queue."""
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
    """Send `said` and return everything received until the end."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(one, said)
    received = b""
    async with asyncio.timeout(20):
        while piece := await loop.sock_recv(one, 100):
            received += piece
    return received


@contextlib.contextmanager
def listening(
    path: Path, serve: Callable[[OpenConnection], Awaitable[None]] = echo, **options: int
) -> Iterator[Listener]:
    """Run a listener with few places; close it with the body."""
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
    """Whether the other side has closed the connection."""
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def limit_leaving(free: int) -> int:
    """Return the limit under which this process can open `free` descriptors more; their numbers may have gaps."""
    number = 0
    while True:
        try:
            os.fstat(number)
        except OSError:
            if not free:
                return number
            free -= 1
        number += 1


def test_who_has_waited_longest_gives_way(tmp_path: Path) -> None:
    """With all places taken by silent clients, the next is served; the first is closed, the last stays."""

    async def body() -> None:
        with listening(tmp_path), contextlib.ExitStack() as stack:
            silent = [stack.enter_context(client(tmp_path)) for _ in range(PLACES)]
            with client(tmp_path) as one:
                assert await answered(one) == b"ping"
            assert ended(silent[0])
            assert not ended(silent[-1])

    asyncio.run(body())


def test_a_burst_takes_no_more_than_the_places(tmp_path: Path) -> None:
    """In a burst of a hundred, no more than its places are accepted at any time, and all that ask are answered."""
    most, before = 0, set[str]()

    async def serve(connection: OpenConnection) -> None:
        nonlocal most
        most = max(most, len(open_descriptors() - before))
        await echo(connection)

    async def body() -> None:
        with listening(tmp_path, serve), contextlib.ExitStack() as stack:
            burst = [stack.enter_context(client(tmp_path)) for _ in range(100)]
            before.update(open_descriptors())
            with client(tmp_path) as one:
                assert await answered(one) == b"ping"
            await until(lambda: sum(map(ended, burst)) >= len(burst) - PLACES)
            # The asking client itself has a descriptor.
            assert 0 < most <= 1 + PLACES

    asyncio.run(body())


def test_each_has_a_moment_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is closed right after it came: others wait in the kernel's queue until one has had its moment."""
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
    """Places are for clients that have not asked yet; `serve` counts those that have."""
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
    """Near the limit silent clients are closed for one that asks, and none is accepted until there is room again."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        with listening(tmp_path, left=8, places=1000), contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(client(tmp_path)) for _ in range(60)]
            with client(tmp_path) as one:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit_leaving(20), limits[1]))
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
    """Without a free descriptor, clients wait in the kernel's queue until there is one, and nothing ends."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def body() -> None:
        with listening(tmp_path), client(tmp_path) as one:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit_leaving(0), limits[1]))
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
    """Closing the listener ends open connections as well."""

    async def body() -> None:
        before = open_descriptors()
        with listening(tmp_path):
            clients = [client(tmp_path) for _ in range(PLACES)]
            await until(lambda: len(open_descriptors() - before) == 1 + 2 * PLACES)
        await until(lambda: all(map(ended, clients)))
        for one in clients:
            one.close()
        assert not left_open(before)

    asyncio.run(body())


def test_an_offer_is_dropped_for_who_does_not_read(tmp_path: Path) -> None:
    """An offer never blocks; a client that received a part of it gets nothing more, so no message is mixed up."""
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
