"""Where metrics are to be had: HTTP on loopback or on a Unix socket, or a file for node_exporter.

Everybody on the machine can connect. So connections are few, each has a limited time, and what they are told is made by
one thread, one after the other.
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
"""Connections that have asked for nothing so far."""
ANSWERS = 16
"""Connections that wait for an answer, or take one."""
MAX_REQUEST = 8 << 10
"""Bytes of a request with its headers."""
REQUEST_SECONDS = 5.0
"""For a client to make its request, from connecting on."""
ANSWER_SECONDS = 10.0
"""For a client to take the answer, and..."""
ANSWER_MOMENT = 1.0
"""...when another one wants its place."""
GOODBYE_SECONDS = 1.0
"""For a client to close the connection, once it was answered."""

Answer = tuple[str, list[tuple[str, str]], bytes]
"""Status, headers, body."""


class Exporter(Protocol):
    """Serves until it is closed."""

    async def serve(self, works: Callable[[], None]) -> None:
        """Do what there is to do without being asked, telling that it `works`; does not end by itself.

        Raises UnavailableError.
        """

    def close(self) -> None:
        """Stop."""


def open_exporter(place: Place, registry: CollectorRegistry, scrapes: Scrapes) -> Exporter:
    """Serve a registry at the place that agent.yaml names, in the loop that runs; raises OSError."""
    if place.textfile is not None:
        return _File(place.textfile, registry, scrapes)
    if place.socket is not None:
        return _Http(socket_file.bind(place.socket), registry, scrapes, place.socket)
    host, _, port = (place.listen or "").rpartition(":")
    return _Http(_loopback(host.strip("[]"), int(port)), registry, scrapes)


def _loopback(host: str, port: int) -> socket.socket:
    channel = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # A port whose last connections are still closing is free.
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        channel.bind((host, port))
        # Another process may listen on it all the same; then this is where the kernel says so.
        channel.listen()
    except OSError:
        channel.close()
        raise
    return channel


class _Http:
    """As much of HTTP/1.0 as a scrape takes: one request a connection; what it asks for is prometheus_client's part."""

    def __init__(
        self, channel: socket.socket, registry: CollectorRegistry, scrapes: Scrapes, path: str | None = None
    ) -> None:
        self._scrapes, self._path = scrapes, path
        self._application = make_wsgi_app(registry)
        self._renderer = Worker("metrics")
        self._asking = 0
        self._taking: dict[asyncio.Task[Any], float] = {}
        """Connections that are being answered, and since when, in that order."""
        self._listener = Listener(channel, self._serve, places=PLACES)

    async def serve(self, works: Callable[[], None]) -> None:
        """Nothing: whoever connects is served by the loop."""
        works()
        await asyncio.Event().wait()

    def close(self) -> None:
        """Stop, and leave no socket behind."""
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
            await _send(connection, ("503 Service Unavailable", [], b"too many ask at once; try again in a moment\n"))
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
        """End the connection that has taken longest over its answer; False if each is still within its moment."""
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
        """What prometheus_client answers, as the WSGI application that it is (PEP 3333)."""
        begun: list[Any] = []
        body = b"".join(self._application(request, lambda *said: begun.extend(said)))
        status, headers = begun
        return status, headers, body


async def _request(connection: OpenConnection) -> dict[str, str] | None:
    """A request as WSGI has it; None for what is none."""
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
    # Closed with something unread, TCP would tell the client to forget the answer.
    with contextlib.suppress(OSError):  # it has reset the connection
        connection.channel.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(GOODBYE_SECONDS):
        while True:
            await connection.receive(MAX_REQUEST)


class _File:
    """A file that node_exporter shows for as long as it is there; at the end it says that nobody writes it any more."""

    def __init__(self, folder: str, registry: CollectorRegistry, scrapes: Scrapes) -> None:
        self._folder, self._registry, self._scrapes = folder, registry, scrapes
        self._worker = Worker("metrics")
        tempfile.TemporaryFile(dir=folder).close()  # raises where nothing can be written

    def close(self) -> None:
        """Nothing is open."""

    async def serve(self, works: Callable[[], None]) -> None:
        """Write again and again, until a disk takes nothing: it may do so later."""
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
            # Behind a write that is under way. Without the file this host would just be gone from Prometheus.
            stopped = CollectorRegistry()
            stopped.register(KernelCollector(_stopped))
            with contextlib.suppress(OSError):
                await self._worker.do(partial(self._write, stopped))

    def _write(self, registry: CollectorRegistry) -> None:
        """Beside the file and renamed, so that nobody reads half of it.

        Not with prometheus_client's write_to_textfile: its file has the mode that the umask leaves, which is for nobody
        else under systemd, and the name beside it can be known and may be somebody's link to another file.
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
