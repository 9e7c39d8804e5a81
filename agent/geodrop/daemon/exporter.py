"""Where metrics are to be had: HTTP on loopback or on a Unix socket, or a file for node_exporter.

Threads of their own, so that whoever scrapes slowly holds up nobody; what they show is read by the engine's thread.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import tempfile
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Protocol

from prometheus_client.exposition import MetricsHandler, generate_latest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from geodrop.config import Metrics as Place

TEXTFILE = "geodrop.prom"
TEXTFILE_SECONDS = 15.0
IDLE_SECONDS = 10.0
"""For a client that says nothing."""


class Exporter(Protocol):
    """Serves until it is closed."""

    def close(self) -> None:
        """Stop."""


def open_exporter(place: Place, registry: CollectorRegistry) -> Exporter:
    """Serve a registry at the place that agent.yaml names; raises OSError."""
    if place.textfile is not None:
        return _File(place.textfile, registry)
    server: socketserver.BaseServer
    if place.socket is not None:
        server = _UnixServer(place.socket, _handler(registry))
    else:
        host, _, port = (place.listen or "").rpartition(":")
        server = _LoopbackServer((host.strip("[]"), int(port)), _handler(registry))
    return _Http(server)


def _handler(registry: CollectorRegistry) -> type[MetricsHandler]:
    class Handler(MetricsHandler):
        timeout = IDLE_SECONDS

        def address_string(self) -> str:
            return "a scraper"  # a Unix socket's client has no address

    Handler.registry = registry
    return Handler


class _LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[MetricsHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, handler: type[MetricsHandler]) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        super().__init__(path, handler)
        os.chmod(path, 0o660)
        self._path = path

    def server_close(self) -> None:
        super().server_close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


class _Http:
    def __init__(self, server: socketserver.BaseServer) -> None:
        self._server = server
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _File:
    """Written beside and renamed, so that node_exporter never reads half a file."""

    def __init__(self, folder: str, registry: CollectorRegistry) -> None:
        self._folder = folder
        self._registry = registry
        self._closed = threading.Event()
        self._write()
        threading.Thread(target=self._keep_writing, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _keep_writing(self) -> None:
        while not self._closed.wait(TEXTFILE_SECONDS):
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        content = generate_latest(self._registry)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=f".{TEXTFILE}.", delete=False) as file:
            try:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, os.path.join(self._folder, TEXTFILE))
            except BaseException:
                os.unlink(file.name)
                raise
