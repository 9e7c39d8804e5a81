# SPDX-License-Identifier: Apache-2.0
"""Guards of lists: limits that a list must keep, so that a broken download or a wrong file is refused, not enforced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from geodrop.document import shape
from geodrop.document.keys import Key
from geodrop.document.problems import shown
from geodrop.document.shape import UnreadableError
from geodrop.policy import values
from geodrop.policy.spans import size, span, spans, without
from geodrop.policy.special import GLOBAL_UNICAST, public_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from geodrop.document.problems import Position, ProblemReport
    from geodrop.document.tree import Node
    from geodrop.policy.model import Network

SHORTEST = {
    "ipv4": Key("such as 16: no IPv4 prefix shorter than /16"),
    "ipv6": Key("such as 32: no IPv6 prefix shorter than /32"),
}

GUARD = {
    "shortest": Key("the length that each prefix has at least; a range counts as its prefixes", SHORTEST),
    "entries": Key("how many entries there are, such as `100-500000`, `100-` or `-500000`; a range is one entry"),
    "share": Key("the most that the list holds of global IPv4, and of the /48s of global IPv6, such as `1%`"),
    "age": Key("of a list file: how long ago it may have been modified, such as `7d`"),
}

FAMILIES = {"ipv4": 4, "ipv6": 6}
SKEW = 60.0
"""Seconds that a file may lie in the future, by the clock of the host that wrote it."""

SITE_BITS = 48
"""IPv6 is counted in /48s: what one site is usually given (RFC 6177)."""

_ENTRIES = re.compile(r"([0-9]{1,9})?-([0-9]{1,9})?")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")


@dataclass(frozen=True, slots=True)
class Guard:
    """The limits of one list: each is None, or missing in `shortest`, where the policy does not set it.

    `shortest` has the least prefix length by family, 4 or 6; `entries` the least and the most number, `share` is 0.0 to
    1.0. `whose` names the list and the place of the guard, for messages.
    """

    whose: str
    shortest: Mapping[int, int]
    entries: tuple[int, int | None] | None
    share: float | None
    age: timedelta | None


class Listed(NamedTuple):
    """A list to be held against its guard: its prefixes, how many entries they come from, and the place of each.

    `place` is asked with the index of a prefix; -1 is the last one. `start` is the place of the list as a whole.
    """

    prefixes: Sequence[Network]
    entries: int
    place: Callable[[int], Position]
    start: Position


def parse_guard(report: ProblemReport, node: Node, what: str, *, is_file: bool) -> Guard:
    """Parse a guard; `what` names the list. A limit that cannot be read is reported, and none."""
    given = shape.fields(report, node, f"guard of {what}", GUARD)
    shortest: dict[int, int] = {}
    if "shortest" in given.nodes:
        lengths = shape.fields(report, given.nodes["shortest"], f"shortest of {given.what}", SHORTEST)
        for name, family in FAMILIES.items():
            length = lengths.value(name, partial(parse_length, bits=32 if family == 4 else 128))
            if length is not None:
                shortest[family] = length
    if "age" in given.nodes and not is_file:
        message = f"age of {given.what}: prefixes that stand here are as old as the policy; write it for a file only"
        report.error(given.nodes["age"].place, message)
    return Guard(
        f"the guard of {what} ({report.file.rpartition('/')[2]}:{given.place.line})",
        shortest,
        given.value("entries", parse_entries),
        given.value("share", values.parse_percent),
        given.value("age", values.parse_duration) if is_file else None,
    )


def parse_entries(text: str) -> tuple[int, int | None]:
    """Return the least and the most number of entries. Raises UnreadableError."""
    match = _ENTRIES.fullmatch(text)
    if match is None or match[0] == "-":
        hint = f"{text}-  for at least, or  -{text}  for at most" if text.isdecimal() else "one such as 100-500000"
        raise UnreadableError(f"{shown(text)} is no range of numbers; write {hint}")
    least, most = int(match[1] or 0), None if match[2] is None else int(match[2])
    if most is not None and least > most:
        raise UnreadableError(f"{text} runs backwards; write {most}-{least}")
    return least, most


def parse_length(text: str, bits: int) -> int:
    """Return the length of a prefix, from 0 to `bits`. Raises UnreadableError."""
    if not _LENGTH.fullmatch(text) or int(text) > bits:
        raise UnreadableError(f"{shown(text)} is not the length of a prefix; write a number from 0 to {bits}")
    return int(text)


def check_guard(guard: Guard, listed: Listed, report: ProblemReport) -> None:
    """Report every limit that a list does not keep, at the line that is to blame."""
    _check_shortest(guard, listed, report)
    _check_entries(guard, listed, report)
    for family in (4, 6):
        _check_share(guard, listed, family, report)


def check_age(guard: Guard, age: float | None, start: Position, report: ProblemReport) -> str | None:
    """Report a file that was modified too long ago, or when is not known; `age` is in seconds.

    Returns a warning about a file from the future, which counts as new.
    """
    if guard.age is None:
        return None
    if age is None:
        report.error(start, f"its age is not known, and {guard.whose} limits it; name a file that can be asked")
    elif age > guard.age.total_seconds():
        message = f"modified {_days(age)} ago, and {guard.whose} allows {_days(guard.age.total_seconds())}"
        report.error(start, f"{message}; check why it is fetched no more")
    elif age < -SKEW:
        return f"modified {_days(-age)} in the future, which counts as now; check the clocks"
    return None


def share_of(prefixes: Sequence[Network], family: int) -> float:
    """Return the share of a family's global addresses that prefixes hold, 0.0 to 1.0; IPv6 in /48s, each whole."""
    if family == 4:
        held, public = spans(prefixes, 4), public_spans(4)
        return (size(held) - size(without(held, public))) / size(public)
    bits = 128 - SITE_BITS
    low, high = (end >> bits for end in span(GLOBAL_UNICAST))
    sites = values.merged(
        (max(first >> bits, low), min(last >> bits, high))
        for first, last in map(span, (one for one in prefixes if one.version == 6))
        if first >> bits <= high and last >> bits >= low
    )
    return size(sites) / (high - low + 1)


def _check_shortest(guard: Guard, listed: Listed, report: ProblemReport) -> None:
    for family, least in guard.shortest.items():
        short = [at for at, one in enumerate(listed.prefixes) if one.version == family and one.prefixlen < least]
        if short:
            more = f", like {len(short) - 1:,} more" if len(short) > 1 else ""
            report.error(
                listed.place(short[0]),
                f"{listed.prefixes[short[0]]} is shorter than /{least}{more}, and {guard.whose} allows no such prefix; "
                "take it out, or change the guard",
            )


def _check_entries(guard: Guard, listed: Listed, report: ProblemReport) -> None:
    if guard.entries is None:
        return
    least, most = guard.entries
    count = f"{listed.entries:,} {'entry' if listed.entries == 1 else 'entries'}"
    if listed.entries < least:
        message = f"{count}, and {guard.whose} wants at least {least:,}"
        place = listed.place(-1) if listed.prefixes else listed.start
        report.error(place, f"{message}; check whether the list is complete")
    elif most is not None and listed.entries > most:
        message = f"{count}, and {guard.whose} allows {most:,}"
        report.error(listed.place(-1), f"{message}; check whether it is the right list")


def _check_share(guard: Guard, listed: Listed, family: int, report: ProblemReport) -> None:
    own = [(one.prefixlen, at) for at, one in enumerate(listed.prefixes) if one.version == family]
    if guard.share is None or not own:
        return
    # As if none overlapped, /48s counted whole: most lists are far below their limit, and need no merging.
    unit = 32 if family == 4 else SITE_BITS
    whole = size(public_spans(4)) if family == 4 else 1 << SITE_BITS - GLOBAL_UNICAST.prefixlen
    if sum(1 << max(0, unit - length) for length, _ in own) <= guard.share * whole:
        return
    share = share_of(listed.prefixes, family)
    if share > guard.share:
        _, largest = min(own)
        message = f"the list holds {share * 100:.3g}% of IPv{family}, and {guard.whose} allows {guard.share * 100:g}%"
        report.error(listed.place(largest), f"{message}; its largest prefix is {listed.prefixes[largest]}")


def _days(seconds: float) -> str:
    """Return a duration in its largest unit, such as 9.5 d."""
    for unit, length in (("d", 86_400), ("h", 3_600)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 60:.3g} min"
