# SPDX-License-Identifier: Apache-2.0
"""The demo's clients: each sends HTTP requests at an interval, from its own address, and reports the outcomes.

The demo runs this module as a process, which holds the clients' namespace. The demo writes one line, a JSON list of
source addresses; from then on this process writes one line for each finished request, see `ClientRequest`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from ipaddress import ip_address

from geodrop.demo.inside import allow_ipv6, end_with_the_demo, say, say_ready
from geodrop.demo.network import API, PORT

INTERVAL = 0.2
"""Seconds between two requests of one client; a client does not wait for an answer."""

TIMEOUT = 0.9
"""Seconds until a request counts as unanswered: less than TCP's first retransmission (1 s), so each sends one SYN."""

ANSWER_TIMEOUT = 5.0
"""Seconds for the answer, once the kernel has accepted the connection: the server may have to wait for a processor."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One finished request. Times are seconds of CLOCK_MONOTONIC, which all processes of a machine share.

    `outcome` is the HTTP status line's code such as "200", "no answer", or the text of an unexpected error.
    """

    source: str
    began: float
    ended: float
    outcome: str


async def request(source: str) -> ClientRequest:
    """Make one connection from `source`, send one request, and return its outcome; "no answer" after TIMEOUT."""
    began = time.monotonic()
    try:
        outcome = await get(source)
    except TimeoutError:
        outcome = "no answer"
    except OSError as error:
        outcome = str(error)
    return ClientRequest(source, began, time.monotonic(), outcome)


async def get(source: str) -> str:
    """GET / and return the status code of the answer; raises TimeoutError and other OSErrors."""
    host = str(API[ip_address(source).version])
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection(host, PORT, local_addr=(source, 0))
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(ANSWER_TIMEOUT):
            line = await reader.readline()
        return line.split()[1].decode() if line.startswith(b"HTTP/") else "not HTTP"
    finally:
        writer.close()


async def keep_asking(source: str, offset: float) -> None:
    """Start a request every INTERVAL, for as long as the process lives."""
    await asyncio.sleep(offset)
    running: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while True:
        task = asyncio.create_task(report(source))
        running.add(task)
        task.add_done_callback(running.discard)
        due += INTERVAL
        await asyncio.sleep(due - time.monotonic())


async def report(source: str) -> None:
    """Make one request and report it to the demo."""
    say(asdict(await request(source)))


async def ask_from_all(sources: list[str]) -> None:
    """Run all clients at once, their requests spread evenly over the interval."""
    await asyncio.gather(*(keep_asking(source, INTERVAL * n / len(sources)) for n, source in enumerate(sources)))


def main() -> None:
    """Read the list of sources, then send requests until the demo ends."""
    allow_ipv6()
    say_ready()
    line = sys.stdin.readline()
    if line:
        end_with_the_demo()
        asyncio.run(ask_from_all(json.loads(line)))


if __name__ == "__main__":
    main()
