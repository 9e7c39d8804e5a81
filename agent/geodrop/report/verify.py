"""Compare the kernel with the ruleset it should hold."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop.engine import underway
from geodrop.engine.spot_check import boundaries, compare
from geodrop.errors import BusyError
from geodrop.operations.exempt_sources import verify_exempt
from geodrop.operations.load import what_is_loaded
from geodrop.operations.window import held, intent_of
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geodrop.config import Config
    from geodrop.dataplane.both import BothEngines
    from geodrop.engine.api import Difference
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
        engines, observed, ruleset = what_is_loaded(config)
        store = Store(config.state)
        expected = held(store, intent_of(store, observed), observed)
        found = engines.verify(expected.ruleset, full=False, undo=expected.undo)
        differences = underway.of_what_is_in_force(found)
        # Data is not compared if the structure already differs.
        for piece in () if differences else _shares(expected, engines) if full else _samples(ruleset, engines):
            yield
            differences += piece()
        differences += verify_exempt(engines, Store(config.state))
        now = engines.observe()
        same = (now.generation, now.digest) == (observed.generation, observed.digest)
        # A match holds for the whole time; a difference may only show because a read came in the middle of a switch.
        if same and (not differences or underway.marks() == marks):
            return {
                "schema": SCHEMA,
                "agrees": not differences,
                "sample": None if full else 2 * SAMPLE,
                "generation": observed.generation,
                "digest": observed.digest,
                "differences": [
                    {"where": one.where, "expected": one.expected, "found": one.found} for one in differences
                ],
            }
    raise BusyError("what is in force changed while it was compared", "try again in a moment")


def _shares(expected: ShouldHold, engines: BothEngines) -> Iterator[Callable[[], list[Difference]]]:
    for part in range(PARTS):
        yield partial(engines.verify_share, expected.ruleset, part, PARTS, expected.undo)


def _samples(ruleset: Ruleset, engines: BothEngines) -> Iterator[Callable[[], list[Difference]]]:
    for family in (4, 6):
        for _ in range(0, SAMPLE, ADDRESSES):
            yield partial(compare, ruleset, engines, [*boundaries(ruleset, family, ADDRESSES)])
