# SPDX-License-Identifier: Apache-2.0
"""How long a reading command waits while loads that take seconds run."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

from geodrop.control.client import ask
from tests.bench.daemon import host
from tests.bench.report import against

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.report import Row

LOADS = 3
ROWS = ("nft_status_under_load",)
ASKED_EVERY = 0.02
"""Seconds from an answer to the next question."""

LARGE = """
version: 1
services:
  api:
    match: {{ports: {{tcp: [443]}}}}
    default: allow
    unknown: allow
    deny: ["continent:AF", "continent:AS", "continent:{}"]
limits: {{blast_radius: none}}
"""
"""Both the dropped and the accepted space are large; a change from one to the other fills everything again."""

CONTINENTS = ("SA", "NA")


def rows(database: Path, folder: Path) -> Iterator[Row]:
    """`nft_status_under_load`: the slowest `status` of all that run during loads, beside such a load."""
    folder.chmod(0o755)  # the compile child reads policies as user nobody
    (folder / "load").mkdir()
    with host(folder / "load", "nftables", database, LARGE.format(CONTINENTS[-1])) as (edited, _):
        loads: list[float] = []
        loading = threading.Thread(target=_load, args=(edited, loads))
        loading.start()
        waits = [_status()]
        while loading.is_alive():
            waits.append(_status())
            time.sleep(ASKED_EVERY)
        loading.join()
    if len(loads) < LOADS:
        raise RuntimeError("a load has failed")
    yield against("nft_status_under_load", "s", "a load meanwhile", [max(waits)], [statistics.median(loads)])


def _load(edited: Path, loads: list[float]) -> None:
    """Reload from one policy to the other; return the seconds from request to answer."""
    for number in range(LOADS):
        edited.write_text(LARGE.format(CONTINENTS[number % len(CONTINENTS)]), encoding="utf-8")
        before = time.perf_counter()
        answer = ask("reload")
        if not answer or not answer["data"]["changed"]:
            raise RuntimeError(f"nothing was changed: {answer}")
        loads.append(time.perf_counter() - before)


def _status() -> float:
    before = time.perf_counter()
    if ask("status") is None:
        raise RuntimeError("no daemon answers")
    return time.perf_counter() - before
