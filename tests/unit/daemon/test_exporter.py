# SPDX-License-Identifier: Apache-2.0
"""Metrics at each place that agent.yaml can name, and what untrusted clients can occupy there."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import os
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.config import MetricsConfig as Place
from geodrop.daemon import exporter as module
from geodrop.daemon import scrapes as scrapes_module
from geodrop.daemon.exporter import ANSWERS, MAX_REQUEST, PLACES, open_exporter
from geodrop.daemon.listener import OpenConnection
from geodrop.daemon.metrics import Metrics
from geodrop.daemon.scrapes import Scrapes
from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.daemon.exporter import Exporter

STATUS: dict[str, Any] = {
    "enforcing": True,
    "enforcing_expected": True,
    "healthy": True,
    "paused": False,
    "held": [],
    "generation": 7,
    "confirm": None,
    "undone": None,
}
STATUS |= {"services": [], "interfaces": [], "exemptions": []}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrapes_module, "INTERVAL", 0.0)


@contextlib.contextmanager
def exporting(place: Place) -> Iterator[None]:
    """Run an exporter in an event loop of its own, as in the daemon."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    opened: list[Exporter | OSError] = []
    serving: list[asyncio.Future[None]] = []

    async def read() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return STATUS, []

    async def begin() -> None:
        metrics, scrapes = Metrics(), Scrapes(read)
        metrics.show(scrapes.last)
        try:
            opened.append(exporter := open_exporter(place, metrics.registry, scrapes))
            serving.append(asyncio.ensure_future(exporter.serve(lambda: None)))
        except OSError as failure:
            opened.append(failure)
        ready.set()

    async def end() -> None:
        if not isinstance(opened[0], OSError):
            serving[0].cancel()
            opened[0].close()
            # An exporter may write when it stops.
            await asyncio.wait(serving)
        # Cancelled tasks end in the next round of the event loop.
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(begin(), loop)
    assert ready.wait(20)
    try:
        if isinstance(opened[0], OSError):
            raise opened[0]
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def scrape(channel: socket.socket, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """Send GET /metrics on a connected socket; return the response, read."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = channel
    connection.request("GET", "/metrics", headers=headers or {})
    return connection.getresponse()


def text(channel: socket.socket) -> str:
    """Return the body of a successful scrape."""
    with scrape(channel) as answer:
        assert answer.status == 200
        return answer.read().decode()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a free port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_http_on_loopback(host: str, written: str) -> None:
    """Prometheus gets the families from either loopback address; after the end nothing answers."""
    port = free_port(host)
    with exporting(Place(f"{written}:{port}")), socket.create_connection((host, port)) as channel:
        told = text(channel)
        assert "geodrop_reloads_total" in told
        assert "geodrop_generation 7.0" in told
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))


def test_a_port_that_is_taken_is_an_error() -> None:
    """A port in use stays with its owner; the caller gets an error."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):  # noqa: SIM117
        with exporting(Place(f"127.0.0.1:{taken.getsockname()[1]}")):
            pytest.fail("two listen")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Serve metrics on a Unix socket; yield its path."""
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with exporting(Place(None, socket=str(path))):
        yield path
    assert not path.exists()


def test_a_file_in_the_sockets_place_stays(tmp_path: Path) -> None:
    """A mistyped name in agent.yaml removes no file."""
    (tmp_path / "policy.yaml").write_text("precious")
    with pytest.raises(OSError, match="is no socket"), exporting(Place(None, socket=str(tmp_path / "policy.yaml"))):
        pytest.fail("it is served")
    assert (tmp_path / "policy.yaml").read_text() == "precious"


def connected(place: Path) -> socket.socket:
    """Return a connected client."""
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(20)
    channel.connect(str(place))
    return channel


def test_http_on_a_unix_socket(place: Path) -> None:
    """The socket is for its group only, replaces that of a dead daemon, and is removed with the exporter."""
    assert place.stat().st_mode & 0o777 == 0o660
    with connected(place) as channel:
        assert "geodrop_reloads_total" in text(channel)


def test_what_prometheus_asks_for(place: Path) -> None:
    """prometheus_client decides on format and compression."""
    accept = "application/openmetrics-text;version=1.0.0"
    with connected(place) as channel:
        answer = scrape(channel, {"Accept": accept, "Accept-Encoding": "gzip"})
        assert answer.getheader("Content-Type", "").startswith("application/openmetrics-text")
        assert gzip.decompress(answer.read()).endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.0\n\n", 200),
        (b"POST / HTTP/1.1\r\n\r\n", 405),
        (b"\0\0\0\x02{}\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_REQUEST, 400),
        (b"GET / HTTP/1.1\r\nAccept: application/openmetrics-text;version=x.y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\xff\xfe: \xff\r\n\r\n", 200),
    ],
)
def test_requests(place: Path, sent: bytes, status: int) -> None:
    """Every message is answered; one that is no request, or too long, with an error."""
    with connected(place) as channel:
        channel.sendall(sent)
        received = b""
        while piece := channel.recv(1 << 16):
            received += piece
    assert int(received.split()[1]) == status


def test_half_a_request_gives_way(place: Path) -> None:
    """A client that asks is answered at once, however many others send requests byte by byte."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(place)) for _ in range(4 * PLACES)]
        for channel in slow:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                channel.sendall(b"GET / HT")
        with connected(place) as channel:
            assert "geodrop_generation" in text(channel)


def test_a_request_has_a_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a request is limited even if a byte arrives now and then."""
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.5)
    with connected(place) as channel, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.settimeout(0.05)
        for _ in range(1000):
            channel.sendall(b"G")
            with contextlib.suppress(TimeoutError):
                assert channel.recv(1) == b""
                return
        pytest.fail("the request is not limited in time")


def test_answers_that_nobody_reads_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such answers hold their places for a moment; then the next client gets one."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1000.0)
    monkeypatch.setattr(module, "ANSWER_MOMENT", 0.01)
    monkeypatch.setattr(module, "generate_latest", lambda _: b"")
    monkeypatch.setattr(module, "make_wsgi_app", lambda _: big)

    def big(_: object, begin: Any) -> list[bytes]:  # noqa: ANN401 - as WSGI has it
        begin("200 OK", [])
        return [bytes(8 << 20)]

    path = tmp_path / "metrics.sock"
    with exporting(Place(None, socket=str(path))), contextlib.ExitStack() as stack:
        for _ in range(2 * ANSWERS):
            channel = stack.enter_context(connected(path))
            channel.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while True:
            with connected(path) as channel, scrape(channel) as answer:
                if answer.status == 200:
                    assert len(answer.read()) == 8 << 20
                    return
                assert answer.status == 503


def test_a_file_for_node_exporter(tmp_path: Path) -> None:
    """The file soon exists, whole and readable by other users, with nothing beside it; a missing folder is an error."""
    path = tmp_path / "geodrop.prom"
    mask = os.umask(0o077)  # as the unit has it
    try:
        with exporting(Place(None, textfile=str(tmp_path))):
            for _ in range(2000):
                if path.exists():
                    break
                threading.Event().wait(0.01)
            assert [one.name for one in tmp_path.iterdir()] == ["geodrop.prom"]
            assert path.stat().st_mode & 0o777 == 0o644
            content = path.read_text()
    finally:
        os.umask(mask)
    assert "geodrop_generation 7.0" in content
    assert "geodrop_up 1.0" in content
    [written] = re.findall(r"^geodrop_written_timestamp_seconds (\S+)$", content, re.MULTILINE)
    assert path.stat().st_mtime - 60 < float(written) < path.stat().st_mtime + 60
    with pytest.raises(OSError, match="No such file"), exporting(Place(None, textfile=str(tmp_path / "x"))):
        pytest.fail("served")


def test_a_file_says_that_nobody_writes_it_any_more(tmp_path: Path) -> None:
    """After the exporter stops, the file says that nothing can be read, and keeps no old claim of enforcing."""
    path = tmp_path / "geodrop.prom"
    with exporting(Place(None, textfile=str(tmp_path))):
        for _ in range(2000):
            if path.exists():
                break
            threading.Event().wait(0.01)
    content = path.read_text()
    assert "geodrop_up 0.0" in content
    assert "geodrop_written_timestamp_seconds" in content
    assert "geodrop_enforcing" not in content
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["geodrop.prom"]


def test_a_file_is_whole_when_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader at that moment, or after the daemon was killed then, sees the whole file."""
    real, seen = os.replace, []

    def replace(source: str, target: str) -> None:
        with open(source, encoding="utf-8") as file:
            seen.append(file.read())
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with exporting(Place(None, textfile=str(tmp_path))):
        pass
    # The last line is short and would stay in a buffer.
    for _ in range(2000):
        if seen and "geodrop_up 0.0" in seen[-1]:
            break
        threading.Event().wait(0.01)
    assert all(content.endswith("\n") for content in seen)
    assert "geodrop_up 0.0" in seen[-1]


def test_a_client_that_resets_is_no_failure() -> None:
    """A client that reads the answer and resets is no failure: no user may fill the log that way."""

    class Resetting(OpenConnection):
        async def send(self, content: bytes) -> None:
            await super().send(content)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

    async def answer() -> None:
        with pytest.raises(ConnectionError):
            await module._send(Resetting(served, lambda: None), ("200 OK", [], b"fine\n"))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        served, _ = listening.accept()
    served.settimeout(0)
    with served:
        asyncio.run(answer())


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails after others succeeded raises, with folder and next step, so that the task tries again."""
    folder = tmp_path / "gone"
    folder.mkdir()
    worked: list[bool] = []

    def works() -> None:
        worked.append(True)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    async def body() -> None:
        async def nothing() -> tuple[dict[str, Any], list[dict[str, Any]]]:
            return {}, []

        exporter = open_exporter(Place(None, textfile=str(folder)), Metrics().registry, Scrapes(nothing))
        await exporter.serve(works)

    monkeypatch.setattr(module, "TEXTFILE_SECONDS", 0.0)
    with pytest.raises(UnavailableError, match=f"cannot be written to {folder}"):
        asyncio.run(body())
    assert worked == [True]
