# SPDX-License-Identifier: Apache-2.0
"""What the atlas has, with the size of each entry in the loaded databases: the answer of `geodrop regions`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.columns import Column, heading, row
from geodrop.compile.sizes import size_where
from geodrop.policy.atlas import ATLAS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.geo.world import RegionMap
    from geodrop.policy.atlas import Known
    from geodrop.policy.countries import Region

SCHEMA = 1
"""Version of the object of `regions --json`."""
MOST_CODES = 4
"""Most codes of an entry in the table of all."""
TABLE = Column("name", max(map(len, ATLAS))), Column("IPv4", 16, ">"), Column("/48s", 16, ">"), Column("  codes")
PARTS = Column("", 20), Column("IPv4", 16, ">"), Column("/48s", 16, ">")


def say(name: str | None, region_map: RegionMap | None, databases: Sequence[str], *, as_json: bool) -> None:
    """Print one entry or all, as lines or as one object; without a map the sizes are not known."""
    found = [as_object(known, region_map) for text, known in ATLAS.items() if name in (None, text)]
    if as_json:
        print(json.dumps({"schema": SCHEMA, "databases": list(databases), "regions": found}))
        return
    for line in _all(found) if name is None else _one(found[0]):
        messages.say(line)
    if region_map is None:
        messages.say("the sizes are those of databases: add --database FILE")


def as_object(known: Known, region_map: RegionMap | None) -> dict[str, Any]:
    """Return an entry of the atlas with its sizes, None where they are not known.

    `undivided` is what the databases give the country of a territory and no subdivision of it: nobody knows which of
    these addresses are in the territory.
    """
    subdivided = any("-" in part[0] for part in known.parts)
    return {
        "name": known.text,
        "title": known.title,
        "country": known.country or None,
        "note": known.note or None,
        "as_of": known.as_of,
        "source": known.source,
        "parts": [{"codes": [*part], **_sizes(region_map, part)} for part in known.parts],
        **_sizes(region_map, known.codes),
        "undivided": _sizes(region_map, (known.country,), alone=True) if known.country and subdivided else None,
    }


def _sizes(region_map: RegionMap | None, codes: Sequence[str], *, alone: bool = False) -> dict[str, int | None]:
    """Return the size of what has one of the codes; with `alone` without what has a subdivision."""

    def chosen(region: Region) -> bool:
        names = {region.country} if alone and not region.subdivision else {region.country, *region.subdivisions}
        return not names.isdisjoint(codes) and not (alone and region.subdivision)

    ipv4, sites = size_where(region_map, chosen) if region_map and codes else (None, None)
    return {"ipv4": ipv4, "ipv6_48s": sites}


def _all(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield heading(TABLE)
    for one in found:
        codes = [" or ".join(part["codes"]) for part in one["parts"]]
        more = f" and {len(codes) - MOST_CODES} more" if len(codes) > MOST_CODES else ""
        told = ", ".join(codes[:MOST_CODES]) + more or "no database tells it apart"
        yield row(TABLE, (one["name"], _number(one["ipv4"]), _number(one["ipv6_48s"]), f"  {told}"))


def _one(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['name']}: {found['title']}" + (f", counted to {found['country']}" if found["country"] else "")
    if found["note"]:
        yield f"note: {found['note']}"
    if found["parts"]:
        yield heading(PARTS)
        for part in (*found["parts"], {**found, "codes": ["together"]}):
            codes = " or ".join(part["codes"])
            yield row(PARTS, (codes, _number(part["ipv4"]), _number(part["ipv6_48s"])))
    if (undivided := found["undivided"]) and undivided["ipv4"] is not None:
        yield (
            f"the databases do not say of {undivided['ipv4']:,} IPv4 addresses and {undivided['ipv6_48s']:,} /48s of "
            f"{found['country']} in which subdivision they are"
        )
    yield f"as of {found['as_of']}: {found['source']}"


def _number(amount: int | None) -> str:
    return "-" if amount is None else f"{amount:,}"
