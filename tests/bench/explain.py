# SPDX-License-Identifier: Apache-2.0
"""How long `explain` takes for a hundred thousand addresses, against a loop with the maxminddb C extension."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from tests.bench.report import against, compared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.report import Row

ROUNDS = 9
ADDRESSES = 100_000
SEED = 41

ROWS = ("explain_100k",)

LOOP = """
import json, sys
import maxminddb
with maxminddb.open_database(sys.argv[1], maxminddb.MODE_MMAP_EXT) as reader:
    for line in sys.stdin:
        address = line.strip()
        record = reader.get(address)
        print(json.dumps({"address": address, "region": record and record.get("country_code")}))
"""


def rows(ruleset: Path, database: Path, folder: Path) -> Iterator[Row]:
    """`explain --json -`: from command to the last line; the loop is a command too, and only finds countries."""
    asked = folder / "asked.txt"
    written(asked)
    ours = [sys.executable, "-m", "geodrop", "explain", "--ruleset", str(ruleset), "--json", "-"]
    loop = [sys.executable, "-c", LOOP, str(database)]
    yield against(
        "explain_100k",
        "s",
        "a loop with the maxminddb C extension",
        *compared(ROUNDS, lambda: answered(ours, asked), lambda: answered(loop, asked)),
    )


def answered(command: list[str], asked: Path) -> float:
    """Return the seconds that a command takes to answer every address."""
    before = time.perf_counter()
    with asked.open("rb") as addresses:
        done = subprocess.run(command, stdin=addresses, capture_output=True, check=True)
    seconds = time.perf_counter() - before
    if (lines := done.stdout.count(b"\n")) != ADDRESSES:
        raise RuntimeError(f"{lines:,} answers to {ADDRESSES:,} addresses")
    return seconds


def written(asked: Path) -> None:
    """Write addresses of the whole world, every fifth one of IPv6."""
    chance = random.Random(SEED)
    with asked.open("w", encoding="ascii") as file:
        for number in range(ADDRESSES):
            if number % 5:
                address: IPv4Address | IPv6Address = IPv4Address(chance.randrange(1 << 24, 224 << 24))
            else:
                address = IPv6Address(chance.randrange(0x2400 << 112, 0x2C10 << 112))
            file.write(f"{address}\n")
