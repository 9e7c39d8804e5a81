# SPDX-License-Identifier: Apache-2.0
"""How long it takes to read a world-size database, against iterating over it with the maxminddb C extension."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import maxminddb

from geodrop.geo.database import Database
from tests.bench.report import against, compared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.report import Row

ROUNDS = 5

ROWS = ("read_world",)


def rows(database: Path) -> Iterator[Row]:
    """`read_world`: from the file to both families as merged intervals of regions."""

    def ours() -> float:
        before = time.perf_counter()
        descriptor = os.open(database, os.O_RDONLY)
        Database.open(descriptor, database.name)
        os.close(descriptor)
        return time.perf_counter() - before

    def iterated() -> float:
        before = time.perf_counter()
        with maxminddb.open_database(database, maxminddb.MODE_MMAP_EXT) as reader:
            for _ in reader:
                pass
        return time.perf_counter() - before

    yield against("read_world", "s", "iterate with the maxminddb C extension", *compared(ROUNDS, ours, iterated))
