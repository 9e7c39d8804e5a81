# SPDX-License-Identifier: Apache-2.0
"""How long `simulate` takes for a log, against a loop with a regular expression and the maxminddb C extension."""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import maxminddb

from geodrop.ruleset.model import Ruleset
from geodrop.simulate.blocks import blocks
from geodrop.simulate.simulation import Simulation
from geodrop.simulate.verdicts import Verdicts
from tests.bench.report import against, compared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.report import Row

ROUNDS = 9
LINES = 400_000
CLIENTS = 40_000
A_SECOND = 40
"""Requests a second: the log spans some hours."""

ROWS = ("simulate",)

_LINE = re.compile(
    r'(?P<address>\S+) \S+ \S+ \[(?P<day>[^:]+):(?P<hour>\d\d)[^]]*\] "(?P<request>[^"]*)" (?P<status>\d+)'
)


def rows(ruleset: Path, database: Path, folder: Path) -> Iterator[Row]:
    """`simulate`: the totals of an nginx log by region, network and hour, both from the same file."""
    log = folder / "access.log"
    written(log)
    opened = Ruleset.open(ruleset)

    def ours() -> float:
        before = time.perf_counter()
        simulation = Simulation(Verdicts(opened, frozenset(service.name for service in opened.meta.services)))
        simulation.open(log.name)
        descriptor = os.open(log, os.O_RDONLY)
        for block in blocks(descriptor):
            simulation.add(block)
        os.close(descriptor)
        assert simulation.as_json()["requests"] == LINES
        return time.perf_counter() - before

    def looped() -> float:
        before = time.perf_counter()
        assert loop(log, database) == LINES
        return time.perf_counter() - before

    yield against("simulate", "s", "a loop with re and the maxminddb C extension", *compared(ROUNDS, ours, looped))


def loop(log: Path, database: Path) -> int:
    """Add up the same totals, line by line, for one denied country; return the number of lines."""
    requests: Counter[tuple[str, str]] = Counter()
    clients: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    every, lines = set(), 0
    with maxminddb.open_database(database, maxminddb.MODE_MMAP_EXT) as reader, log.open(encoding="utf-8") as file:
        for line in file:
            found = _LINE.match(line)
            if found is None:
                continue
            lines += 1
            address = found["address"]
            every.add(address)
            record = reader.get(address)
            country = record.get("country_code", "") if isinstance(record, dict) else ""
            if country in {"CN", "RU", "IR"}:
                network = ".".join(address.split(".")[:2])
                for key in (("country", str(country)), ("network", network), (found["day"], found["hour"])):
                    requests[key] += 1
                    clients[key].add(address)
    return lines


def written(log: Path) -> None:
    """Write an access log as nginx does: few clients send most of the requests, as on any host."""
    choose = random.Random(10)
    clients = [".".join(str(choose.randrange(1, 224)) for _ in range(4)) for _ in range(CLIENTS)]
    chosen = choose.choices(clients, [1 / (1 + number) for number in range(CLIENTS)], k=LINES)
    with log.open("w", encoding="ascii") as file:
        for number, client in enumerate(chosen):
            seconds = number // A_SECOND
            stamp = f"09/Jul/2024:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} +0000"
            request = f'"GET /v1/things/{number % 9973}?page={number % 7} HTTP/1.1" 200 {number % 8191}'
            file.write(
                f'{client} - - [{stamp}] {request} "-" "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Firefox/115.0"\n'
            )
