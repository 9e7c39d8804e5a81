# SPDX-License-Identifier: Apache-2.0
"""Counters only grow, whatever another program does to the table, until we remove the table ourselves."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from geodrop.daemon.watch import tally
from geodrop.daemon.worker import Worker
from tests.kernel.daemon.watch.conftest import DENIED, watched

if TYPE_CHECKING:
    from tests.kernel.daemon.watch.conftest import Edge


def dropped(edge: Edge) -> int:
    """Send packets from the denied region."""
    lines = edge.geodrop.good("counters", "--json").json_lines
    return sum(line["dropped"]["packets"] for line in lines if line.get("region") == "CN" and line["family"] == "ipv4")


def test_counters_go_on_after_a_flush(edge: Edge) -> None:
    """Counters continue from the last reading, a few seconds old at most; `unload` resets them."""
    with watched(edge) as (_, ends):
        with edge.probing(ends) as probes:
            probes.outcome(DENIED)
        before = dropped(edge)
        assert before > 0
        time.sleep(tally.INTERVAL + 1)
        edge.host.netns.run("nft", "flush", "ruleset")
        edge.until(lambda status: status["repaired"] == 1 and status["healthy"])
        assert dropped(edge) == before
        edge.geodrop.good("unload")
        edge.geodrop.good("reload")
        edge.host.netns.run("nft", "flush", "ruleset")
        edge.until(lambda status: status["repaired"] == 2 and status["healthy"])
        assert dropped(edge) == 0


def test_what_cannot_be_read_leaves_the_last_reading(edge: Edge) -> None:
    """After a flush there is nothing to read, and then the last reading is kept."""

    async def read() -> tally.Tally:
        with edge.host.netns.entered():
            made = tally.Tally(Worker("engine"))  # its thread stays in this namespace
        made.totals = {"api.CN.ipv4.dropped": (7, 420)}
        task = asyncio.ensure_future(made.run())
        await asyncio.sleep(0.3)
        task.cancel()
        return made

    made = asyncio.run(read())
    assert made.totals == {"api.CN.ipv4.dropped": (7, 420)}
    made.forget()
    assert made.totals == {}
