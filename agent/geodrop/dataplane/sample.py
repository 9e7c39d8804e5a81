"""Ask the kernel about addresses chosen at random, and hold its answers against the ruleset: a quick look at the data.

Addresses are chosen where mistakes would be: the first of an interval, and the last before it.
"""

from __future__ import annotations

import random
import time
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from geodrop.dataplane.engine import Difference
from geodrop.ruleset.explain import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.dataplane.engine import Enforced
    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset


def sample(ruleset: Ruleset, engine: Enforced, count: int) -> list[Difference]:
    """Compare verdicts at `count` boundaries of each family; empty: they agree."""
    addresses = [*boundaries(ruleset, 4, count), *boundaries(ruleset, 6, count)]
    now = time.time()
    differences = []
    answers = engine.judge(ruleset, [str(address) for address in addresses])
    for address, verdicts in zip(addresses, answers, strict=True):
        for expected, found in zip(explain(ruleset, address, now), verdicts, strict=True):
            # Verdicts may differ for the moment in which `starts` comes; what the ladder says may not.
            if expected.would_drop != found.would_drop:
                where = f"{address} for service {expected.service}"
                differences.append(
                    Difference(where, "drop" if expected.would_drop else "accept", f"{found.verdict}, {found.where}")
                )
    return differences


def boundaries(ruleset: Ruleset, family: int, count: int) -> Iterator[Address]:
    """Addresses on both sides of the starts of random intervals, `count` in all."""
    starts = ruleset.sections[f"ipv{family}/starts"]
    width = 4 if family == 4 else 16
    for number in range(count):
        at = random.randrange(len(starts) // width) * width  # noqa: S311 - where to look is no secret
        start = starts[at : at + width]
        before = number % 2
        if family == 4:
            yield IPv4Address(max(int.from_bytes(start, "little") - before, 0))
        else:
            yield IPv6Address(max(int.from_bytes(start, "big") - before, 0))
