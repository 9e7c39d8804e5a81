"""`geodrop verify`: does the kernel hold what it should?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from geodrop.config import load_config
from geodrop.dataplane.load import what_is_loaded
from geodrop.dataplane.sample import sample
from geodrop.errors import ApplyError

if TYPE_CHECKING:
    import argparse

SCHEMA = 1
SAMPLE = 500
"""Boundaries a family, chosen at random, that are asked about where not all are compared."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `verify`."""
    parser.add_argument(
        "--full",
        action="store_true",
        help="compare every interval (default: all rules, and a random sample of intervals)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: they agree; 1: they differ, each difference on a line; 3: nothing in force."""
    engine, observed, ruleset = what_is_loaded(load_config(args.config))
    differences = engine.verify(ruleset, full=args.full)
    if not args.full:
        differences = differences or sample(ruleset, engine, SAMPLE)
    if args.json:
        found = [{"where": one.where, "expected": one.expected, "found": one.found} for one in differences]
        print(
            json.dumps(
                {
                    "schema": SCHEMA,
                    "agrees": not differences,
                    "generation": observed.generation,
                    "digest": observed.digest,
                    "differences": found,
                }
            )
        )
    elif differences:
        for one in differences:
            print(f"{one.where}: expected {one.expected}, found {one.found}")
    else:
        what = "in full" if args.full else f"in all rules and a sample of {2 * SAMPLE:,} boundaries"
        print(f"the kernel matches ruleset {observed.digest[:12]}, generation {observed.generation}, {what}")
    return ApplyError.exit_code if differences else 0
