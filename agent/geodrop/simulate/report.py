# SPDX-License-Identifier: Apache-2.0
"""The text output of `simulate`, from the object of `simulate --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop.columns import Column, heading, row
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator

    Found = dict[str, Any]

ROWS = 10
"""Most rows of a table, and most regions in a line."""

EFFECTS = {
    "newly_dropped": ("newly drop", "newly dropped"),
    "no_longer_dropped": ("no longer drop", "no longer dropped"),
}
"""The parts of an answer against another ruleset: what the policy would do, and the heading of the tables."""


def told(found: Found) -> Iterator[str]:
    """Yield the lines for a person."""
    yield _read(found)
    parts = [(found[name], *words) for name, words in EFFECTS.items() if name in found]
    parts = parts or [(found, "drop", "dropped")]
    for part, verb, _ in parts:
        yield _summary(part, verb, exact=found["exact"])
    for part, _, title in parts:
        for name, key in (("regions", "region"), ("networks", "network"), ("hours", "hour")):
            if part[name]:
                yield from _table(part[name], key, title)


def _read(found: Found) -> str:
    least = "" if found["exact"] else "at least "
    text = f"{_count(found['requests'], 'request')}, {least}{_count(found['clients'], 'client')}"
    unreadable = found["unreadable"]
    if not unreadable["count"]:
        return text
    where = f"line {unreadable['first_line']:,}"
    if unreadable["first_file"] != "-":
        where = f"{harmless(unreadable['first_file'])}, {where}"
    beginning = harmless(unreadable["first_text"])
    return f"{text}; {_count(unreadable['count'], 'line')} unreadable (first: {where}: {beginning})"


def _summary(part: Found, verb: str, *, exact: bool) -> str:
    dropped = part["dropped"]
    if not dropped["requests"]:
        return f"would {verb} nothing"
    least = "" if exact else "at least "
    text = f"would {verb} {_share(dropped['share'])} of requests, {least}{_count(dropped['clients'], 'client')}: "
    regions = part["regions"]
    text += ", ".join(f"{harmless(one['region'])} {one['clients']:,}" for one in regions[:ROWS])
    if left := len(regions) - ROWS:
        text += f", {left:,} more" if left > 0 else ""
    most = part["networks"][0]
    return f"{text}     most: {most['network']} {_count(most['clients'], 'client')}"


def _table(rows: list[Found], key: str, title: str) -> Iterator[str]:
    """Yield a table of at most ROWS rows; hours are chosen by requests and stay in their order."""
    chosen = rows[:ROWS]
    if key == "hour" and len(rows) > ROWS:
        most = sorted(rows, key=lambda one: -one["requests"])[:ROWS]
        chosen = [one for one in rows if one in most]
    names = [_name(one[key]) for one in chosen]
    title = f"{title} by {key}".upper()
    columns = (
        Column(title, max(len(title), *map(len, names))),
        Column("CLIENTS", 12, ">"),
        Column("REQUESTS", 14, ">"),
    )
    yield ""
    yield heading(columns)
    for name, one in zip(names, chosen, strict=True):
        yield row(columns, (name, f"{one['clients']:,}", f"{one['requests']:,}"))
    if left := len(rows) - len(chosen):
        yield f"and {_count(left, key)} more; --json has all"


def _name(value: str | None) -> str:
    return "no time" if value is None else harmless(value)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _share(share: float) -> str:
    """Return a share as a percentage; one that is not zero never looks like zero."""
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"
