# SPDX-License-Identifier: Apache-2.0
"""Compare the kernel's answers for random addresses with the ruleset: a quick check of the data.

Addresses are chosen where mistakes are likely: the first of an interval, and the last before it.
"""

from __future__ import annotations

import random
import time
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

from geodrop.engine.api import Difference
from geodrop.ruleset.explain import explain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.engine.api import Enforced
    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset, ServiceSpec


def spot_check(ruleset: Ruleset, engine: Enforced, count: int) -> list[Difference]:
    """Compare verdicts at `count` boundaries of each family; an empty list means they agree."""
    return compare(ruleset, engine, [*boundaries(ruleset, 4, count), *boundaries(ruleset, 6, count)])


def compare(ruleset: Ruleset, engine: Enforced, addresses: Sequence[Address]) -> list[Difference]:
    """Compare verdicts for addresses; an empty list means they agree.

    A service with local addresses of one family takes no packet of the other, and an engine may hold nothing for that.
    """
    now = time.time()
    differences = []
    takes = {service.name: _families(service) for service in ruleset.meta.services}
    answers = engine.judge(ruleset, [str(address) for address in addresses])
    for address, verdicts in zip(addresses, answers, strict=True):
        for expected, found in zip(explain(ruleset, address, now), verdicts, strict=True):
            if address.version not in takes[expected.service]:
                continue
            # Verdicts may differ while `starts` is just passing; what the ladder says may not.
            if expected.would_drop != found.would_drop:
                where = f"{address} for service {expected.service}"
                differences.append(
                    Difference(where, "drop" if expected.would_drop else "accept", f"{found.verdict}, {found.where}")
                )
    return differences


def _families(service: ServiceSpec) -> set[int]:
    return {ip_network(text).version for text in service.addresses} or {4, 6}


def boundaries(ruleset: Ruleset, family: int, count: int) -> Iterator[Address]:
    """Yield addresses on both sides of the starts of random intervals, `count` in all."""
    starts = ruleset.sections[f"ipv{family}/starts"]
    width = 4 if family == 4 else 16
    for number in range(count):
        at = random.randrange(len(starts) // width) * width  # noqa: S311 - where to look is no secret
        yield _address(family, starts[at : at + width], before=number % 2)


def of_each_denied(ruleset: Ruleset) -> Iterator[Address]:
    """Yield, for every zone that some service drops or would drop, the start of an interval in each family."""
    services = len(ruleset.meta.services)
    rows = ruleset.sections["rows"].cast("H")
    drops = [row.verdict == "drop" for row in ruleset.meta.rows]
    denied = [
        zone for zone in range(len(ruleset.meta.zones)) if any(drops[row] for row in rows[zone * services :][:services])
    ]
    for family, width in ((4, 4), (6, 16)):
        starts, zones = ruleset.sections[f"ipv{family}/starts"], ruleset.sections[f"ipv{family}/zones"].cast("H")
        # For each zone, the last position before a random one, or else the last of all; built without a Python loop for
        # speed.
        middle = random.randrange(len(zones))  # noqa: S311 - as above
        places = dict(zip(zones, range(len(zones)), strict=True)) | dict(
            zip(zones[:middle], range(middle), strict=True)
        )
        for zone in denied:
            if zone in places:
                yield _address(family, starts[places[zone] * width :][:width])


def _address(family: int, start: memoryview, before: int = 0) -> Address:
    """Return the address of a section's bytes, or the one `before` it."""
    if family == 4:
        return IPv4Address(max(int.from_bytes(start, "little") - before, 0))
    return IPv6Address(max(int.from_bytes(start, "big") - before, 0))
