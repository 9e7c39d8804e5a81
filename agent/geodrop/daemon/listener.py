# SPDX-License-Identifier: Apache-2.0
"""Serve a socket that untrusted clients connect to, a few at a time, so that no client blocks the others.

A connection holds a place until it has sent its request. When all places are taken, the connection that has waited
longest is closed for the next one, but not before it had MOMENT seconds to send. So a client that sends at once is
served whatever else is connected, and a crowd that connects again and again can delay others only by these moments.
Further connections wait in the kernel's queue.

A connection is accepted only while enough descriptors are left for the daemon's own work. The kernel gives the lowest
free number, so a high number means that few are left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

PLACES = 32
BACKLOG = 128
"""Connections that the kernel queues until they are accepted."""
MOMENT = 0.05
"""Seconds in which a connection may send its request before it can be closed for another."""
AT_ONCE = 8
"""Connections accepted in one round of the event loop."""
LEFT = 64
"""Descriptors kept free for the kernel's sockets, maps and files: a load of both engines takes about half of them."""
REST = 0.1
"""Seconds to wait when no descriptor is available."""


class OpenConnection:
    """A connection to a client. Its handler calls `asked` once the client has sent its request."""

    def __init__(self, channel: socket.socket, asked: Callable[[], None]) -> None:
        self.channel, self.asked = channel, asked
        self._loop = asyncio.get_running_loop()
        self._cut = False

    async def receive(self, size: int) -> bytes:
        """Return between 1 and `size` bytes. Raises ConnectionError at the end."""
        piece = await self._loop.sock_recv(self.channel, size)
        if not piece:
            raise ConnectionResetError("the client has ended the connection")
        return piece

    async def exactly(self, size: int) -> bytes:
        """Return `size` bytes. Raises ConnectionError if the connection ends before."""
        received = bytearray()
        while len(received) < size:
            received += await self.receive(size - len(received))
        return bytes(received)

    async def send(self, content: bytes) -> None:
        """Send all of `content`. Raises ConnectionError. The caller limits the time."""
        if self._cut:
            raise ConnectionAbortedError("the client took a part of a message")
        await self._loop.sock_sendall(self.channel, content)

    def offer(self, content: bytes) -> None:
        """Send `content` if there is room now, else drop it."""
        with contextlib.suppress(OSError):
            self._cut = self._cut or 0 < self.channel.send(content) < len(content)


class Listener:
    """Serve a bound socket in the running event loop until it is closed. `serve` handles a connection to its end.

    `left` descriptors are kept free. `serve` itself counts the connections that have sent their request.
    """

    def __init__(
        self,
        channel: socket.socket,
        serve: Callable[[OpenConnection], Awaitable[None]],
        *,
        places: int = PLACES,
        left: int = LEFT,
    ) -> None:
        self._channel, self._serve, self._places, self._left = channel, serve, places, left
        self._loop = asyncio.get_running_loop()
        self._silent: dict[asyncio.Task[None], float] = {}
        """Connections without a request so far, and since when, in order of arrival."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        channel.settimeout(0)
        channel.listen(BACKLOG)
        self._loop.add_reader(channel, self._accept)

    def close(self) -> None:
        """Stop accepting and end all connections."""
        if self._resting:
            self._resting.cancel()
        self._loop.remove_reader(self._channel)
        self._channel.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if len(self._silent) >= self._places or self._few_are_left():
                # The place or descriptor of the closed connection becomes free in the next round of the event loop.
                self._make_one_give_way()
                return
            try:
                client, _ = self._channel.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # ENFILE, ENOMEM: clients keep waiting in the kernel's queue
                self._rest(REST)
                return
            self._begin(client)

    def _few_are_left(self) -> bool:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            lowest = os.dup(self._channel.fileno())
        except OSError:
            return True
        os.close(lowest)
        return lowest >= limit - min(self._left, limit // 4)

    def _begin(self, client: socket.socket) -> None:
        client.settimeout(0)

        def asked() -> None:
            self._silent.pop(task, None)

        def ended(task: asyncio.Task[None]) -> None:
            self._silent.pop(task, None)
            self._tasks.discard(task)
            # Close here, which also covers a task that was cancelled before it began.
            client.close()
            if not task.cancelled():
                task.result()

        task = self._loop.create_task(self._until_its_end(OpenConnection(client, asked)))
        self._silent[task] = self._loop.time()
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _until_its_end(self, connection: OpenConnection) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await self._serve(connection)

    def _make_one_give_way(self) -> None:
        """End the connection that has waited longest; if none may be ended yet, stop accepting for a while."""
        for task, since in self._silent.items():
            if not task.cancelling():
                left = since + MOMENT - self._loop.time()
                if left <= 0:
                    task.cancel()
                else:
                    self._rest(left)
                return
        if not self._silent:
            self._rest(REST)

    def _rest(self, seconds: float) -> None:
        if self._resting is None:
            self._loop.remove_reader(self._channel)
            self._resting = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._resting = None
        self._loop.add_reader(self._channel, self._accept)
