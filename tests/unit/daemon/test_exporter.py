"""Metrics at each place that agent.yaml can name."""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Metrics as Place
from geodrop.daemon.exporter import open_exporter
from geodrop.daemon.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path


def scrape(channel: socket.socket) -> str:
    """GET /metrics on a connected socket."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = channel
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()


@pytest.mark.parametrize(("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_http_on_loopback(host: str, written: str) -> None:
    """Prometheus gets the families from either loopback address, and nobody does after the end."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    exporter = open_exporter(Place(f"{written}:{port}"), Metrics().registry)
    try:
        with socket.create_connection((host, port)) as channel:
            assert "geodrop_reloads_total" in scrape(channel)
    finally:
        exporter.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))


def test_a_port_that_is_taken_is_an_error() -> None:
    """Whoever has the port keeps it; the caller hears of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        open_exporter(Place(f"127.0.0.1:{taken.getsockname()[1]}"), Metrics().registry)


def test_http_on_a_unix_socket(tmp_path: Path) -> None:
    """The socket is for its group alone, replaces one that a dead daemon left, and goes with the exporter."""
    path = tmp_path / "metrics.sock"
    path.touch()
    exporter = open_exporter(Place(None, socket=str(path)), Metrics().registry)
    try:
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(path))
            assert "geodrop_reloads_total" in scrape(channel)
    finally:
        exporter.close()
    assert not path.exists()


def test_a_file_for_node_exporter(tmp_path: Path) -> None:
    """The file is there at once, whole and readable by others, with nothing beside it."""
    exporter = open_exporter(Place(None, textfile=str(tmp_path)), Metrics().registry)
    exporter.close()
    [path] = tmp_path.iterdir()
    assert path.name == "geodrop.prom"
    assert path.stat().st_mode & 0o777 == 0o644
    assert "geodrop_reloads_total" in path.read_text()
