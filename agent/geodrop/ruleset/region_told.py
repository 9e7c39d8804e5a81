# SPDX-License-Identifier: Apache-2.0
"""The text output of `explain` for a region: how much of it is dropped and accepted, by which lines of the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.ruleset.difference import percent
from geodrop.ruleset.verdict_text import MARGIN, deciding, dropped, reservation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.ruleset.verdict_text import Answer

MOST_REGIONS = 5
MOST_CORRECTIONS = 5
BROADER = {
    "subdivision": {"country", "continent", "unknown", "default"},
    "country": {"continent", "unknown", "default"},
    "continent": {"unknown", "default"},
    "group": {"default"},
}
"""For each kind of question the rungs below its own: a line that names what was asked for decides before them."""


def told_region(asked: str, found: Sequence[Answer]) -> Iterator[str]:
    """Yield a line for each line of the policy that decides about a part of the region, in the order of the answers."""
    total = sum(one["addresses"] for one in found if one["service"] == found[0]["service"])
    said: dict[tuple[str, str, str], list[Answer]] = {}
    for one in found:
        verdict = "DROP" if dropped(one) else "ACCEPT"
        said.setdefault((verdict, deciding(one) + reservation(one), _change(one)), []).append(one)
    for (verdict, text, change), same in said.items():
        yield f"{verdict:<{MARGIN}}{text}: {_amount(same, total)}{_regions(same)}{change and f'; {change}'}"
    yield from _notes(asked, found[0])


def _amount(same: Sequence[Answer], total: int) -> str:
    """Return how much of the region it is, in both families; `total` is the number of its IPv4 addresses."""
    addresses = sum(one["addresses"] for one in same)
    share = "all" if addresses == total else percent(addresses / total) if total else ""
    share = ">99.9%" if share == "100.0%" else share
    sites = sum(one["ipv6_48s"] for one in same)
    ipv4 = [f"{addresses:,} IPv4 addresses ({share} of {same[0]['subject']})"] if addresses else []
    ipv6 = [f"{sites:,} IPv6 /48s"] if sites else []
    return ", ".join([*ipv4, *ipv6]) or f"{same[0]['address']} and what is around it"


def _regions(same: Sequence[Answer]) -> str:
    """Name the regions, if there is more than the one that was asked for."""
    names = [*dict.fromkeys(one["region"] or "of no known region" for one in same)]
    if names == [same[0]["subject"]]:
        return ""
    more = f" and {len(names) - MOST_REGIONS} more" if len(names) > MOST_REGIONS else ""
    return f" ({', '.join(names[:MOST_REGIONS])}{more})"


def _change(one: Answer) -> str:
    """Return what to write in the policy for the other verdict; "" where longer prefixes decide, and not the region."""
    other, mine, aim = ("allow", "deny", "let it in") if one["would_drop"] else ("deny", "allow", "drop it")
    rung, line, asked = one["rung"], one["line"], one["asked"]
    if rung in {"never-drop", "prefix", "list", "special"}:
        return ""
    if rung in BROADER.get(one["about"], ()):
        named = asked if one["about"] == "group" else one["subject"]
        return f"to {aim}: {other}: [{named}]"
    if rung in {"unknown", "default"}:
        return f"to {aim}: {rung}: {other}"
    if line.startswith("group:") and rung == one["about"]:
        return f"to {aim}: take {one['subject']} out of {line}"
    return f"to {aim}: {mine} without {line}"


def _notes(asked: str, one: Answer) -> Iterator[str]:
    """Yield what the figures leave out, and which corrections are in them."""
    notes = []
    if one["about"] == "subdivision" and one["subject"].upper() != asked.upper():
        subject = one["subject"]
        notes.append(f"{asked} is not told apart from the rest of {subject}: this is {subject} as a whole")
    if count := one["not_counted"]:
        notes.append(
            f"left out: {count:,} IPv4 addresses that prefixes and lists decide about, since the ruleset does not know "
            "their regions; geodrop explain --policy FILE asks the databases"
        )
    corrections = one["corrections"]
    notes += [
        f"{each['prefix']} counts as {each['country']}, and not as {', '.join(each['was'])} (corrections, "
        f"{each['place']})"
        for each in corrections[:MOST_CORRECTIONS]
    ]
    if len(corrections) > MOST_CORRECTIONS:
        notes.append("there are more corrections; --json has them")
    yield from (f"{'note':<{MARGIN}}{note}" for note in notes)
