"""Does the kernel hold what it should?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop.dataplane.load import what_is_loaded
from geodrop.dataplane.sample import sample

if TYPE_CHECKING:
    from geodrop.config import Config

SCHEMA = 1
SAMPLE = 500
"""Boundaries a family, chosen at random, that are asked about where not all are compared."""


def read_verify(config: Config, *, full: bool) -> dict[str, Any]:
    """The object of `verify --json`; raises NotEnforcingError, DataError, PrivilegeError, UnavailableError."""
    engine, observed, ruleset = what_is_loaded(config)
    differences = engine.verify(ruleset, full=full)
    if not full:
        differences = differences or sample(ruleset, engine, SAMPLE)
    return {
        "schema": SCHEMA,
        "agrees": not differences,
        "sample": None if full else 2 * SAMPLE,
        "generation": observed.generation,
        "digest": observed.digest,
        "differences": [{"where": one.where, "expected": one.expected, "found": one.found} for one in differences],
    }
