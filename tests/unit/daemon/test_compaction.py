# SPDX-License-Identifier: Apache-2.0
"""When the daemon compacts: not while changes come, and again after a failure; tests/kernel checks the result."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from geodrop.daemon import compaction
from geodrop.errors import ApplyError
from tests.support.daemons import daemon_context

if TYPE_CHECKING:
    import pytest

    from geodrop.config import Config


def times_compacted(
    monkeypatch: pytest.MonkeyPatch, outcomes: list[Exception | None], *soon: float, seconds: float = 2.0
) -> int:
    """Return how often compaction is tried in `seconds` with further changes at the given moments."""
    tried = 0

    def tries(_: Config) -> None:
        nonlocal tried
        tried += 1
        if outcomes and (failure := outcomes.pop(0)):
            raise failure

    async def run() -> None:
        made = compaction.Compaction(daemon_context())
        task, loop = asyncio.ensure_future(made.run()), asyncio.get_running_loop()
        for moment in soon:
            loop.call_later(moment, made.schedule)
        await asyncio.sleep(seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    monkeypatch.setattr(compaction, "compact", tries)
    monkeypatch.setattr(compaction, "QUIET", 0.2)
    monkeypatch.setattr(compaction, "RETRY", 0.05)
    asyncio.run(run())
    return tried


def test_regions_are_told_apart_once_the_maps_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions are split only after the compaction; a failure to split is tried again too."""
    outcomes: list[Exception | None] = [ApplyError("no room"), None]
    told = []

    def tell(_: Config) -> bool:
        told.append(outcomes.pop(0))
        if told[-1]:
            raise told[-1]
        return True

    monkeypatch.setattr(compaction, "count_regions", tell)
    assert times_compacted(monkeypatch, [ApplyError("not whole"), None, None]) == 3
    assert len(told) == 2


def test_once_after_the_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlay of an earlier daemon counts as a change; compaction waits for the last change of several."""
    assert times_compacted(monkeypatch, []) == 1
    assert times_compacted(monkeypatch, [], 0.15, 0.3, 0.45, seconds=0.5) == 0


def test_a_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed compaction is tried again without another change."""
    assert times_compacted(monkeypatch, [ApplyError("no room"), None]) == 2
