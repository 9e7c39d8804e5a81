# SPDX-License-Identifier: Apache-2.0
"""How long `geodrop plan` takes with all the world's addresses and ten thousand open connections."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from tests.bench.report import against, compared
from tests.support.cli import Geodrop
from tests.support.namespaces import End, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.report import Row
    from tests.support.namespaces import Namespace

ROUNDS = 5
ROWS = ("plan",)
CONNECTIONS = 10_000
SERVER, PORT = "198.18.0.1", 443
SEED = 35


def rows(loaded: Path, wanted: Path, policy: Path, database: Path, folder: Path) -> Iterator[Row]:
    """`plan`: from command to answer, of a ruleset file against what is loaded, beside compiling that file.

    The difference is all that has to be found; a compile is what an operator waits for anyway.
    """
    (folder / "plan").mkdir()
    with namespaces("clients", "host") as [clients, host]:
        join(End(clients, "eth0", ["198.18.0.2/24"]), End(host, "eth0", [f"{SERVER}/24"]))
        # Every address is the clients' own, and the host sends all answers there.
        clients.run("ip", "route", "add", "local", "0.0.0.0/1", "dev", "lo")
        host.run("ip", "route", "add", "default", "via", "198.18.0.2")
        geodrop = Geodrop(folder / "plan", host)
        with contextlib.ExitStack() as stack:
            with host.entered():
                server = stack.enter_context(socket.create_server((SERVER, PORT), backlog=1024))
            _connect(stack, server, clients)
            geodrop.good("load", "--interface", "eth0", str(loaded))
            command = [*geodrop.command("plan", "--json", str(wanted))]
            compiling = [sys.executable, "-m", "geodrop", "compile", "--policy", str(policy), "--database"]
            compiling += [str(database), "-o", str(folder / "plan" / "again.ruleset")]
            plan, compiled = compared(ROUNDS, lambda: _planned(command), lambda: _timed(compiling)[0])
    yield against("plan", "s", "compiling the ruleset", plan, compiled)


def _connect(stack: contextlib.ExitStack, server: socket.socket, clients: Namespace) -> None:
    """Open the connections, from random addresses of the clients' half of IPv4.

    The clients are in a process of their own: many machines allow one process no more than 20,000 descriptors.
    """
    ends, held = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(held)
        try:
            with clients.entered():
                _from_everywhere(ends)
        finally:
            os._exit(0)
    stack.callback(os.waitpid, process, 0)
    stack.callback(os.close, held)
    os.close(ends)
    for _ in range(CONNECTIONS):
        stack.enter_context(server.accept()[0])


def _from_everywhere(ends: int) -> None:
    """Open the connections, and hold them until the other process closes its end of a pipe."""
    chance, opened = random.Random(SEED), []
    for _ in range(CONNECTIONS):
        client = socket.socket()
        client.bind((str(IPv4Address(chance.randrange(1 << 24, 126 << 24))), 0))
        client.connect((SERVER, PORT))
        opened.append(client)
    os.read(ends, 1)


def _planned(command: list[str]) -> float:
    seconds, out = _timed(command)
    found = json.loads(out)
    if found["connections"]["open"] != CONNECTIONS or not found["changes"]:
        raise RuntimeError(f"not what was asked for: {found['connections']['open']} connections")
    return seconds


def _timed(command: list[str]) -> tuple[float, bytes]:
    before = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - before, done.stdout
