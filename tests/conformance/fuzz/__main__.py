# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: SHAPES random shapes (100,000) under each policy, on each engine, from SEED (a new one if not given).

NUMBER tries one shape of the seed alone; arguments are engines, by their names in the suite.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.fuzz.campaign import Result, campaign
from tests.conformance.fuzz.findings import Random, written_down
from tests.conformance.fuzz.policies import MAIN, POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENGINES = ["nftables", "xdp-native", "xdp-generic"]

SHAPES = 100_000

TRACKED = 10
"""One in this many shapes is also tried under the main policy with tracked connections, which is slower."""

SHOWN = 3
"""Findings of one kind that are shown in full."""


def main(engines: Sequence[str]) -> int:
    """Try everything; the exit code says whether anything was found."""
    seed = os.environ.get("SEED") or secrets.token_hex(4)
    shapes = int(os.environ.get("SHAPES") or SHAPES)
    only = os.environ.get("NUMBER")
    numbers = range(int(only), int(only) + 1) if only else range(1, shapes + 1)
    print(
        f"SEED={seed}, {len(numbers)} shapes under each of {len(POLICIES)} policies on {', '.join(engines)}", flush=True
    )
    found = False
    with tempfile.TemporaryDirectory() as folder:
        with campaign(engines, Path(folder)) as running:
            for policy in POLICIES:
                started = time.monotonic()
                result = running.run(policy, [*written_down(policy), *_random(seed, numbers)])
                found |= _report(policy, result, time.monotonic() - started)
        with campaign(engines, Path(folder), tracked=True) as running:
            started = time.monotonic()
            result = running.run(MAIN, [*written_down(MAIN), *_random(seed, numbers[::TRACKED])])
            found |= _report(f"{MAIN}, connections tracked", result, time.monotonic() - started)
    return 1 if found else 0


def _random(seed: str, numbers: range) -> Iterator[Random]:
    return (Random(seed, number) for number in numbers)


def _report(what: str, result: Result, seconds: float) -> bool:
    kinds = Counter((finding.kind, finding.engine) for finding in result.findings)
    print(
        f"{what}: {result.shapes} shapes, {result.delivered} of them delivered, {result.deniable} for a service; "
        f"{sum(result.lost.values())} lost; {len(result.findings)} judged wrong; {seconds:.0f} s",
        flush=True,
    )
    for (kind, engine), count in kinds.items():
        shown = [f for f in result.findings if (f.kind, f.engine) == (kind, engine)][:SHOWN]
        print(f"{count} times {kind} on {engine}, such as", *shown, sep="\n", flush=True)
    return bool(result.findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ENGINES))
