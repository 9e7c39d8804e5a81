# SPDX-License-Identifier: Apache-2.0
"""Compare the kernel with the ruleset it should hold."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop.engine import underway
from geodrop.engine.api import Difference
from geodrop.engine.spot_check import boundaries, compare
from geodrop.errors import BusyError, GeodropError
from geodrop.operations.brought_back import brought_back
from geodrop.operations.exempt_sources import verify_exempt
from geodrop.operations.load import what_is_loaded
from geodrop.operations.window import held, intent_of
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geodrop.config import Config
    from geodrop.dataplane.both import BothEngines
    from geodrop.engine.api import Observed
    from geodrop.operations.window import ShouldHold
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.model import Ruleset

SCHEMA = 1
SAMPLE = 500
"""Boundaries a family, chosen at random, that are looked up if not all are compared."""
PARTS = 32
"""Pieces of a full comparison; each takes some 10 ms, and some 100 ms with the largest rulesets."""
ADDRESSES = 50
"""Boundaries in one piece."""


def read_verify(config: Config, *, full: bool) -> Pieces[dict[str, Any]]:
    """Return the object of `verify --json`.

    Raises NotEnforcingError, DataError, PrivilegeError, UnavailableError, and BusyError if what is in force keeps
    changing.
    """
    for _ in range(underway.PASSES):
        marks = underway.marks()
        try:
            before, differences, after = yield from _compared(config, full=full)
        except GeodropError:
            # The change has deleted what was about to be read, or moved it to the other engine.
            if underway.at_rest(marks):
                raise
        else:
            same = (after.generation, after.digest) == (before.generation, before.digest)
            # A match holds for the whole time; a difference may only show because a read came in the middle of a move.
            if same and (not differences or underway.at_rest(marks)):
                return {
                    "schema": SCHEMA,
                    "agrees": not differences,
                    "sample": None if full else 2 * SAMPLE,
                    "generation": before.generation,
                    "digest": before.digest,
                    "differences": [
                        {"where": one.where, "expected": one.expected, "found": one.found} for one in differences
                    ],
                }
        underway.wait_for_rest()
    raise BusyError("what is in force changed while it was compared", "try again in a moment")


def _compared(config: Config, *, full: bool) -> Pieces[tuple[Observed, list[Difference], Observed]]:
    """Return what was in force before the comparison, the differences, and what is in force after it."""
    engines, before, ruleset = what_is_loaded(config)
    store = Store(config.state)
    intent = intent_of(store, before)
    if earlier := brought_back(intent, before):
        return before, [earlier], engines.observe()
    expected = held(store, intent, before)
    differences = underway.of_what_is_in_force(engines.verify(expected.ruleset, full=False, undo=expected.undo))
    # Data is not compared if the structure already differs.
    for piece in () if differences else _shares(expected, engines) if full else _samples(ruleset, engines):
        yield
        differences += piece()
    differences += verify_exempt(engines, store)
    if store.exemptions.read() is None:
        differences.append(Difference("exempt sources", "those of exemptions.json", "a file that cannot be read"))
    return before, differences, engines.observe()


def _shares(expected: ShouldHold, engines: BothEngines) -> Iterator[Callable[[], list[Difference]]]:
    for part in range(PARTS):
        yield partial(engines.verify_share, expected.ruleset, part, PARTS, expected.undo)


def _samples(ruleset: Ruleset, engines: BothEngines) -> Iterator[Callable[[], list[Difference]]]:
    for family in (4, 6):
        for _ in range(0, SAMPLE, ADDRESSES):
            yield partial(compare, ruleset, engines, [*boundaries(ruleset, family, ADDRESSES)])
