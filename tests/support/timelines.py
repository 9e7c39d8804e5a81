# SPDX-License-Identifier: Apache-2.0
"""What was in force, of records that are there at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.state.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.state.entry import Entry
    from geodrop.state.timeline import Stretch


def stretches(entries: Iterable[Entry], now: float, digest: str | None = None) -> list[Stretch]:
    """Return what was in force until `now`, in seconds since the epoch; `digest` as in `Timeline.until`."""
    timeline = Timeline()
    for entry in entries:
        timeline.add(entry)
    return list(timeline.until(now, digest))
