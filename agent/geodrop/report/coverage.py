# SPDX-License-Identifier: Apache-2.0
"""For how long each line of the policy was in force, and why not: the objects of `history --coverage --json`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.dataplane.both import BothEngines
from geodrop.report.chain import read_chain
from geodrop.report.in_force import read_timeline
from geodrop.state.asker import user_of
from geodrop.state.store import Store
from geodrop.state.timeline import UNRECORDED, spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.report.pieces import Pieces
    from geodrop.state.timeline import Span, Stretch

SCHEMA = 1
BY_OTHERS = ("repair", "drift")
"""Origins whose records name another program as the reason."""


def read_coverage_of_time(
    config: Config, since: float | None = None, most: int | None = None
) -> Pieces[tuple[list[dict[str, Any]], list[str]]]:
    """Read for each service and line since a moment (seconds since the epoch; None: the first record) when it dropped.

    Returns the objects, with at most `most` gaps in all, and a line of text for each reason to doubt them. Raises
    DataError if the history cannot be read, and what reading the kernel raises.
    """
    chain = yield from read_chain(config)
    store = Store(config.state)
    timeline = yield from read_timeline(config)
    problems = store.problems()
    if not chain["good"]:
        problems.insert(0, f"{chain['file']} is not as it was written; see: geodrop history --verify")
    found = list(timeline.until(time.time(), BothEngines.here().observe().digest))
    yield
    return coverage(found, since, most), problems


def coverage(found: Sequence[Stretch], since: float | None, most: int | None = None) -> list[dict[str, Any]]:
    """Return an object for each service and line that a policy of this time dropped."""
    begin = since
    if begin is None:
        begin = next((one.start for one in found if one.cause != UNRECORDED), 0.0)
    seen = [one for one in found if one.end > begin]
    named = {(service.name, line) for one in seen for service in one.drops or () for line in service.lines}
    share = None if most is None else max(most // max(len(named), 1), 1)
    return [_line(service, line, spans(seen, service, line, begin), share) for service, line in sorted(named)]


def _line(service: str, line: str, found: Sequence[Span], most: int | None) -> dict[str, Any]:
    """Return the object of one line; of its gaps the longest `most`, in the order of time."""
    gaps = sorted((one for one in found if one.cause), key=lambda one: -one.seconds)
    left_out = [] if most is None else gaps[most:]
    kept = sorted(gaps[:most], key=lambda one: one.start)
    return {
        "schema": SCHEMA,
        "service": service,
        "line": line,
        "since": utc.moment(found[0].start),
        "until": utc.moment(found[-1].end),
        "seconds": round(sum(one.seconds for one in found), 3),
        "in_force": round(sum(one.seconds for one in found if not one.cause), 3),
        "gaps": [_gap(one) for one in kept],
        "gaps_left_out": {"count": len(left_out), "seconds": round(sum(one.seconds for one in left_out), 3)},
    }


def _gap(span: Span) -> dict[str, Any]:
    by = span.by
    other = by is not None and by.origin in BY_OTHERS
    return {
        "from": utc.moment(span.start),
        "until": utc.moment(span.end),
        "seconds": round(span.seconds, 3),
        "cause": span.cause,
        "user": None if by is None or other else by.sudo_user or user_of(by.uid),
        "culprit": by.why or None if by and other else None,
        "why": by.why or None if by and not other else None,
        "record": by and (by.number or None),
        "generation": by and (by.generation or None),
    }
