"""How long somebody who looks waits while loads run that take seconds."""

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
"""
"""Neither what is dropped nor what is accepted is small; going from one to the other fills all of it again."""

CONTINENTS = ("SA", "NA")


def rows(database: Path, folder: Path) -> Iterator[Row]:
    """`nft_status_under_load`: the slowest `status` of all that are asked for while loads run, beside such a load."""
    folder.chmod(0o755)  # the compile child reads policies as nobody
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
    """Reload from one policy to the other; seconds from the question to the answer."""
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
