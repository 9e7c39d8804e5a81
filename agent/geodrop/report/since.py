# SPDX-License-Identifier: Apache-2.0
"""Since when a verdict has stood: walk back through what was in force, while the verdict of an address stays the same.

A verdict also changes within a generation: where a service starts, a ramp grows or a pause ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.errors import DataError
from geodrop.ruleset.explain import explain
from geodrop.state.timeline import DRIFT, EMPTY, UNRECORDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.store import Store
    from geodrop.state.timeline import Stretch

MOST_RULESETS = 8
"""Most rulesets that are opened for an answer; opening one takes up to 0.1 s."""
MOST_STRETCHES = 5_000
STRETCHES = 200
"""Stretches in one piece of a long read: some 10 ms."""


@dataclass(slots=True)
class Since:
    """Since when, in seconds since the epoch, and since which generation a service gives its `verdict`.

    `at_least`: it may have done so before, but what was in force then is not known any more.
    """

    verdict: str
    time: float
    generation: int
    at_least: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return `since` of an object of `explain --json`."""
        return {"time": utc.moment(self.time), "generation": self.generation, "at_least": self.at_least}


class KeptRulesets:
    """Opens rulesets of the state directory by digest, each once in a row, and at most MOST_RULESETS."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: tuple[str, Ruleset | None] = "", None
        self._opened = 0

    def find(self, digest: str) -> Ruleset | None:
        """Return a ruleset; None if it is not kept any more, or damaged, or one too many."""
        if self._last[0] != digest:
            self._last = digest, self._open(digest)
        return self._last[1]

    def _open(self, digest: str) -> Ruleset | None:
        if self._opened == MOST_RULESETS:
            return None
        self._opened += 1
        try:
            return self._store.ruleset(digest)
        except DataError:
            return None


def since(known: Sequence[Stretch], rulesets: KeptRulesets, address: Address) -> Pieces[Mapping[str, Since]]:
    """Return for each service since when the verdict of an address stands, with the last of these in force.

    Empty if nothing is in force, or its ruleset is not kept.
    """
    found: dict[str, Since] = {}
    verdicts: dict[str, str] = {}
    standing: list[str] = []
    at_least = False
    for number, stretch in enumerate(reversed(known), 1):
        if number % STRETCHES == 0:
            yield
        if stretch.cause in {DRIFT, EMPTY}:
            # What others took away or a reboot lost was put back as it was: `history --coverage` tells of such gaps.
            continue
        ruleset = rulesets.find(stretch.digest) if stretch.digest and number <= MOST_STRETCHES else None
        if ruleset is None:
            # Nothing was in force, which is no verdict of a service; or nobody knows any more.
            at_least = at_least if stretch.cause == UNRECORDED else bool(stretch.digest)
            break
        ruleset = ruleset.paused(stretch.paused)
        for begin in reversed(list(_moments(ruleset, stretch))):
            said = {one.service: one.verdict for one in explain(ruleset, address, begin)}
            if not verdicts:
                verdicts, standing = said, list(said)
            standing = [service for service in standing if said.get(service) == verdicts[service]]
            for service in standing:
                found[service] = Since(verdicts[service], begin, stretch.generation)
        # Before the first stretch, unless it is that of the first load, there was something that is forgotten.
        at_least = stretch.generation > 1
        if not standing:
            break
    for service in standing:
        found[service].at_least = at_least
    return found


def _moments(ruleset: Ruleset, stretch: Stretch) -> Iterator[float]:
    """Yield the moments from which on a verdict may be another one within a stretch, ascending; first its start."""
    own = {moment for service in ruleset.meta.services for moment, _ in service.ramp}
    own |= {service.starts for service in ruleset.meta.services if service.starts is not None}
    yield stretch.start
    yield from sorted(moment for moment in own if stretch.start < moment < stretch.end)
