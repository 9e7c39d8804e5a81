# SPDX-License-Identifier: Apache-2.0
"""How many addresses of each region a ruleset judges in which way: the parts of the answer about a region.

IPv4 is counted in addresses and IPv6 in /48s, as in ruleset.difference: IPv4 inside IPv6 once, as IPv4; of IPv6 the
/48s of 2000::/3, without those of no known region, and without intervals larger than a /16.

A ruleset knows the region of an address only where some service decides by it. The compile child, which has the
databases, gives every address its region.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from struct import iter_unpack
from typing import TYPE_CHECKING

from geodrop.errors import DataError
from geodrop.policy.countries import UNKNOWN
from geodrop.ruleset.question import Piece
from geodrop.ruleset.region_question import region_named

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from geodrop.policy.countries import Region
    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset
    from geodrop.ruleset.region_question import RegionQuestion

GLOBAL = (0x2000_0000_0000, 0x4000_0000_0000)
"""2000::/3 as numbers of /48s: the first one, and the first one after it."""
LARGEST = 1 << 32
"""Most /48s of an interval that counts: a /16, the most that one organisation has been given. In some databases half of
2000::/3 belongs to a few countries, in intervals up to a /6: they fill space that is not allocated."""
INTERVALS = 10_000
"""Intervals counted between two pauses: some 10 ms."""
LEFT_OUT = -1
"""Instead of the number of a part: special addresses, and those that embed IPv4."""


@dataclass(slots=True)
class RegionPart:
    """Addresses that each service judges by one row, in one region; None if the region is not known.

    `zone` is a zone of them, `address` an address, from the largest interval, IPv4 if there is any. `ipv4` and
    `ipv6_48s` are how many there are.
    """

    zone: int
    region: Region | None
    address: Address | None = None
    ipv4: int = 0
    ipv6_48s: int = 0
    largest: int = 0
    last_48: int = 0


def parts_of(ruleset: Ruleset) -> Generator[None, None, list[RegionPart]]:
    """Count all addresses, by what the ruleset alone knows. Pauses now and then; the result is kept for one ruleset."""
    if _latest and _latest[0][0] == ruleset.digest:
        return _latest[0][1]
    parts, numbers = _parts_of_zones(ruleset)
    sections = ruleset.sections
    for family in (4, 6):
        keys = [numbers[zone] for zone in sections[f"ipv{family}/zones"].cast("H")]
        yield
        yield from count(parts, family, keys, sections[f"ipv{family}/starts"])
    _latest[:] = [(ruleset.digest, parts)]
    return parts


_latest: list[tuple[str, list[RegionPart]]] = []
"""What `parts_of` returned last, with the digest of its ruleset."""


def part_key(ruleset: Ruleset, zone: int) -> tuple[bytes, bool]:
    """Return what tells the parts of a region apart: the rows of a zone; and whether the zone counts at all."""
    described = ruleset.meta.zones[zone]
    width = 2 * len(ruleset.meta.services)
    rows = bytes(ruleset.sections["rows"][zone * width : (zone + 1) * width])
    return rows, not (described.special or described.embedding)


def count(
    parts: Sequence[RegionPart], family: int, keys: Sequence[int], starts: memoryview
) -> Generator[None, None, None]:
    """Add the intervals of a family to the parts that `keys` name, one number each; LEFT_OUT for none.

    `starts` are the first addresses, as in the section `ipv4/starts` or `ipv6/starts` of a ruleset.
    """
    counted = _count_ipv4 if family == 4 else _count_ipv6
    width = len(starts) // len(keys)
    for at in range(0, len(keys), INTERVALS):
        end = min(at + INTERVALS, len(keys))
        # One more start: where the last interval ends.
        counted(parts, keys[at:end], starts[at * width : (end + 1) * width])
        yield


def chosen(ruleset: Ruleset, parts: Sequence[RegionPart], asked: RegionQuestion) -> tuple[RegionQuestion, list[Piece]]:
    """Return the question with what is counted for it, and its pieces, the largest first. Raises DataError if empty."""
    known = {code for part in parts if part.region for code in part.region.subdivisions}
    if missing := [codes for codes in asked.apart if known.isdisjoint(codes)]:
        raise DataError(
            f"{asked.text}: no address of {' or '.join(missing[0])} is known; either no database has one, or the "
            "policy does not tell it apart",
            "ask about an address or a country; geodrop explain --policy FILE asks the databases",
        )
    found = [part for part in parts if _belongs(ruleset, part, asked)]
    if not found and asked.kind == "subdivision":
        # The policy judges this subdivision as its country.
        country = asked.subject.partition("-")[0]
        asked = replace(asked, subject=country, members=frozenset({country}))
        found = [part for part in parts if _belongs(ruleset, part, asked)]
    if not found:
        raise DataError(
            f"{asked.text}: no address of it is known; either no database has one, or prefix lines decide about all",
            "ask about an address; geodrop explain --policy FILE asks the databases",
        )
    asked = replace(asked, not_counted=sum(part.ipv4 for part in parts if part.region is None and part not in found))
    total = sum(part.ipv4 for part in found)
    found.sort(key=lambda part: (-part.ipv4, -part.ipv6_48s, part.zone))
    return asked, [
        Piece(part.address, part.ipv4, part.ipv6_48s, part.ipv4 / total if total else 0.0)
        for part in found
        if part.address is not None
    ]


def _parts_of_zones(ruleset: Ruleset) -> tuple[list[RegionPart], list[int]]:
    """Return the parts, still empty, and the number of each zone's part."""
    parts: list[RegionPart] = []
    known: dict[tuple[bytes, str | None], int] = {}
    numbers = []
    for zone, described in enumerate(ruleset.meta.zones):
        rows, counts = part_key(ruleset, zone)
        if not counts:
            numbers.append(LEFT_OUT)
            continue
        key = rows, described.region
        if key not in known:
            known[key] = len(parts)
            parts.append(RegionPart(zone, None if described.region is None else region_named(described.region)))
        numbers.append(known[key])
    return parts, numbers


def _belongs(ruleset: Ruleset, part: RegionPart, asked: RegionQuestion) -> bool:
    if part.region is not None and asked.holds(part.region):
        return True
    # A group may also hold lists and prefixes.
    meta = ruleset.meta
    rows = (ruleset.row(part.zone, number) for number in range(len(meta.services)))
    return asked.kind == "group" and any(meta.label(row.klass) in asked.members for row in rows)


def _count_ipv4(parts: Sequence[RegionPart], keys: Sequence[int], starts: memoryview) -> None:
    bounds = [*starts.cast("I"), 1 << 32]
    for key, start, end in zip(keys, bounds, bounds[1:], strict=False):
        if key != LEFT_OUT:
            part, size = parts[key], end - start
            part.ipv4 += size
            if size > part.largest:
                part.largest, part.address = size, IPv4Address(start)


def _count_ipv6(parts: Sequence[RegionPart], keys: Sequence[int], starts: memoryview) -> None:
    low, high = GLOBAL
    bounds = [*iter_unpack(">QQ", starts), (1 << 64, 0)]
    for key, (start, rest), (next_start, next_rest) in zip(keys, bounds, bounds[1:], strict=False):
        if key == LEFT_OUT:
            continue
        part = parts[key]
        if part.address is None:
            part.address = IPv6Address(start << 64 | rest)
        first = min(max(start >> 16, low), high)
        end = min(max((next_start >> 16) + (next_start & 0xFFFF != 0 or next_rest != 0), low), high)
        if not 0 < end - first <= LARGEST or part.region == UNKNOWN:
            continue
        # Two intervals of one part in the same /48 count it once.
        part.ipv6_48s += end - first - (part.last_48 > first)
        part.last_48 = end
