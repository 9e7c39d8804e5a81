# SPDX-License-Identifier: Apache-2.0
"""Serve metrics: over HTTP on loopback or on a Unix socket, or as a file for node_exporter.

Every user of the machine can connect. So there are few connections, each has limited time, and one thread makes all
answers, one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, generate_latest, make_wsgi_app

from geodrop.daemon import socket_file
from geodrop.daemon.listener import Listener
from geodrop.daemon.metrics import KernelCollector
from geodrop.daemon.worker import Worker
from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.config import MetricsConfig as Place
    from geodrop.daemon.listener import OpenConnection
    from geodrop.daemon.scrapes import Scrapes

TEXTFILE = "geodrop.prom"
TEXTFILE_SECONDS = 15.0
PLACES = 8
"""Connections that have not sent a request yet."""
ANSWERS = 16
"""Connections that wait for an answer or receive one."""
MAX_REQUEST = 8 << 10
"""Bytes of a request with its headers."""
REQUEST_SECONDS = 5.0
"""For a client to send its request, counted from connecting."""
ANSWER_SECONDS = 10.0
"""For a client to receive the answer; less if its place is needed, see ANSWER_MOMENT."""
ANSWER_MOMENT = 1.0
"""For a client to receive the answer when another client needs its place."""
GOODBYE_SECONDS = 1.0
"""For a client to close the connection after the answer."""

Answer = tuple[str, list[tuple[str, str]], bytes]
"""Status, headers, body."""


class Exporter(Protocol):
    """Serves metrics until it is closed."""

    async def serve(self, works: Callable[[], None]) -> None:
        """Do the exporter's own periodic work and call `works` after each success; does not return.

        Raises UnavailableError.
        """

    def close(self) -> None:
        """Stop serving."""


def open_exporter(place: Place, registry: CollectorRegistry, scrapes: Scrapes) -> Exporter:
    """Serve a registry at the place that agent.yaml names, in the running event loop. Raises OSError."""
    if place.textfile is not None:
        return _File(place.textfile, registry, scrapes)
    if place.socket is not None:
        return _Http(socket_file.bind(place.socket), registry, scrapes, place.socket)
    host, _, port = (place.listen or "").rpartition(":")
    return _Http(_loopback(host.strip("[]"), int(port)), registry, scrapes)


def _loopback(host: str, port: int) -> socket.socket:
    channel = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # Allow a port whose last connections are still closing.
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        channel.bind((host, port))
        # Another process may listen on the port although bind succeeded; then listen fails.
        channel.listen()
    except OSError:
        channel.close()
        raise
    return channel


class _Http:
    """The part of HTTP/1.0 that a scrape needs: one request a connection. prometheus_client interprets the request."""

    def __init__(
        self, channel: socket.socket, registry: CollectorRegistry, scrapes: Scrapes, path: str | None = None
    ) -> None:
        self._scrapes, self._path = scrapes, path
        self._application = make_wsgi_app(registry)
        self._renderer = Worker("metrics")
        self._asking = 0
        self._taking: dict[asyncio.Task[Any], float] = {}
        """Connections being answered and the time each answer began, oldest first."""
        self._listener = Listener(channel, self._serve, places=PLACES)

    async def serve(self, works: Callable[[], None]) -> None:
        """Do nothing: the event loop serves clients as they connect."""
        works()
        await asyncio.Event().wait()

    def close(self) -> None:
        """Stop, and remove the socket."""
        self._listener.close()
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _serve(self, connection: OpenConnection) -> None:
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await _request(connection)
        if request is None:
            await _send(connection, ("400 Bad Request", [], b"this is no request for metrics\n"))
        elif self._asking >= ANSWERS and not self._one_gives_way():
            await _send(
                connection, ("503 Service Unavailable", [], b"too many clients at once; try again in a moment\n")
            )
        else:
            connection.asked()
            self._asking += 1
            try:
                await self._serve_metrics(connection, request)
            finally:
                self._asking -= 1

    async def _serve_metrics(self, connection: OpenConnection, request: dict[str, str]) -> None:
        answer = await self._answer(request)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is run by one
        self._taking[task] = asyncio.get_running_loop().time()
        try:
            await _send(connection, answer)
        finally:
            del self._taking[task]

    def _one_gives_way(self) -> bool:
        """End the connection that has been receiving its answer longest; False if none has exceeded ANSWER_MOMENT."""
        for task, since in self._taking.items():
            if not task.cancelling():
                late = asyncio.get_running_loop().time() > since + ANSWER_MOMENT
                return late and task.cancel()
        return False

    async def _answer(self, request: dict[str, str]) -> Answer:
        try:
            choose_encoder(request["HTTP_ACCEPT"])
        except (ValueError, TypeError):
            return "400 Bad Request", [], b"the header Accept cannot be understood\n"
        await self._scrapes.refresh()
        return await self._renderer.do(partial(self._render, request))

    def _render(self, request: dict[str, str]) -> Answer:
        """Return the answer of prometheus_client, called as a WSGI application (PEP 3333)."""
        begun: list[Any] = []
        body = b"".join(self._application(request, lambda *said: begun.extend(said)))
        status, headers = begun
        return status, headers, body


async def _request(connection: OpenConnection) -> dict[str, str] | None:
    """Read a request into a WSGI environment; None if it is not a request."""
    received = b""
    while b"\r\n\r\n" not in received and b"\n\n" not in received:
        if len(received) >= MAX_REQUEST:
            return None
        received += await connection.receive(MAX_REQUEST - len(received))
    first, *lines = received.decode("latin-1").splitlines()
    method, _, rest = first.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if not method.isalpha() or not target or not protocol.startswith("HTTP/"):
        return None
    path, _, query = target.partition("?")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_ACCEPT": headers.get("accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get("accept-encoding", ""),
    }


async def _send(connection: OpenConnection, answer: Answer) -> None:
    status, headers, body = answer
    lines = [f"HTTP/1.0 {status}", *(f"{name}: {value}" for name, value in headers), f"Content-Length: {len(body)}"]
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    async with asyncio.timeout(ANSWER_SECONDS):
        await connection.send(head + body)
    # If TCP closes a socket with unread data, the client discards the answer.
    with contextlib.suppress(OSError):  # the client has reset the connection
        connection.channel.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(GOODBYE_SECONDS):
        while True:
            await connection.receive(MAX_REQUEST)


class _File:
    """A file for node_exporter, which exports it while it exists; the last version says that the daemon stopped."""

    def __init__(self, folder: str, registry: CollectorRegistry, scrapes: Scrapes) -> None:
        self._folder, self._registry, self._scrapes = folder, registry, scrapes
        self._worker = Worker("metrics")
        tempfile.TemporaryFile(dir=folder).close()  # raises if the folder cannot be written

    def close(self) -> None:
        """Do nothing: no file is open."""

    async def serve(self, works: Callable[[], None]) -> None:
        """Write periodically. Raises UnavailableError if a write fails; the task may be started again later."""
        try:
            while True:
                await self._scrapes.refresh()
                await self._worker.do(partial(self._write, self._registry))
                works()
                await asyncio.sleep(TEXTFILE_SECONDS)
        except OSError as error:
            step = "make room there, or see `metrics` in agent.yaml"
            raise UnavailableError(f"metrics cannot be written to {self._folder}: {error.strerror}", step) from error
        finally:
            # This waits for a write under way. Without the file the host would just vanish from Prometheus.
            stopped = CollectorRegistry()
            stopped.register(KernelCollector(_stopped))
            with contextlib.suppress(OSError):
                await self._worker.do(partial(self._write, stopped))

    def _write(self, registry: CollectorRegistry) -> None:
        """Write a temporary file and rename it, so that no reader sees half of it.

        prometheus_client's write_to_textfile is not used: its file gets its mode from the umask, which under systemd
        lets no other user read it, and its temporary name is predictable, so another user could make it a link to some
        other file.
        """
        content = generate_latest(registry)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=f".{TEXTFILE}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, os.path.join(self._folder, TEXTFILE))
            except BaseException:
                os.unlink(file.name)
                raise


def _stopped() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    raise UnavailableError("the daemon has stopped")
