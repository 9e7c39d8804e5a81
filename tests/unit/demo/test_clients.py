# SPDX-License-Identifier: Apache-2.0
"""One request is answered, unanswered, or fails with an error."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING

from geodrop.demo import clients
from geodrop.demo.clients import request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LOOPBACK = "127.0.0.1"


def outcome(monkeypatch: pytest.MonkeyPatch, handle: Handle | None) -> str:
    """Return the outcome of a request to a server on loopback with this handler, or to a closed port."""

    async def ask() -> str:
        server = await asyncio.start_server(handle or silent, LOOPBACK, 0)
        monkeypatch.setattr(clients, "PORT", server.sockets[0].getsockname()[1])
        monkeypatch.setattr(clients, "API", {4: ip_address(LOOPBACK)})
        if handle is None:
            server.close()
            await server.wait_closed()
        answer = await request(LOOPBACK)
        server.close()
        # Let the server's side see the end of the connection, so that no socket is left open.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        await asyncio.sleep(0)
        return answer.outcome

    return asyncio.run(ask())


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and say nothing."""
    await reader.read()
    writer.close()


def says(answer: bytes) -> Handle:
    """Return a server that sends this answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    return handle


def test_an_answer_is_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the status line is the outcome."""
    assert outcome(monkeypatch, says(b"HTTP/1.0 503 Busy\r\n\r\n")) == "503"


def test_silence_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent server looks like a drop after the timeout."""
    monkeypatch.setattr(clients, "ANSWER_TIMEOUT", 0.1)
    assert outcome(monkeypatch, silent) == "no answer"


def test_an_error_is_not_taken_for_a_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection, or an answer that is not HTTP, is neither answered nor dropped."""
    assert "Connect call failed" in outcome(monkeypatch, None)
    assert outcome(monkeypatch, says(b"")) == "not HTTP"
