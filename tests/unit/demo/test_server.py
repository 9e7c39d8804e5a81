# SPDX-License-Identifier: Apache-2.0
"""The demo's API answers on both families."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

import pytest

from geodrop.demo.server import ANSWER, DemoServer, Handler

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a running server."""
    with DemoServer(("::", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_on_both_families(port: int, host: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A GET over either family is answered, and the server writes no log into the demo's output."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, ANSWER)
    connection.close()
    assert capfd.readouterr().err == ""
