# SPDX-License-Identifier: Apache-2.0
"""Exempt sources in the sets of the table, which rules ask on the way to a drop.

A change removes and adds only the elements that differ, so that the others keep their counters. The maps that decide
are not touched.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import TYPE_CHECKING

from geodrop.engine.exempt import SLACK, differences, ranges
from geodrop.linux.clock import monotonic
from geodrop.nftables import names
from geodrop.nftables.netlink import messages, timed
from geodrop.nftables.netlink.connection import RefusedError
from geodrop.nftables.netlink.timed import TimedInterval
from geodrop.ruleset.intervals import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.engine.api import Difference
    from geodrop.engine.exempt import ExemptSource, Network
    from geodrop.nftables.model import SetHeader
    from geodrop.nftables.netlink.connection import Connection
    from geodrop.nftables.netlink.wire import NetlinkRequest

TRIES = 5
"""How often a change is tried: the kernel refuses it if an element that it removes has just expired."""

MILLISECOND = 1_000_000
"""In nanoseconds."""


def intervals(sources: Iterable[ExemptSource], now: int) -> dict[str, list[TimedInterval]]:
    """Return the elements of each set, by its name, as of `now` in nanoseconds of CLOCK_MONOTONIC."""
    found: dict[str, list[TimedInterval]] = {name: [] for name in names.EXEMPT.values()}
    for one in ranges(sources):
        if left := max(one.deadline - now, 0) // MILLISECOND:
            found[names.EXEMPT[one.owner.version]].append(TimedInterval(one.first, one.last, left))
    return found


def read(connection: Connection, family: int) -> list[TimedInterval]:
    """Return the elements of a family's set, in order; none if there is no set."""
    try:
        dumped = connection.dump(messages.dump_elements(names.EXEMPT[family]))
    except RefusedError as error:
        if error.errno != errno.ENOENT:
            raise
        return []
    return timed.read(map(messages.read_elements, dumped), WIDTH[family])


def description(connection: Connection) -> list[tuple[int, int, int]]:
    """Describe all elements, without what changes by itself."""
    return [(one.first, one.last, one.whole) for family in names.EXEMPT for one in read(connection, family)]


def put(connection: Connection, headers: Sequence[SetHeader], sources: Sequence[ExemptSource]) -> None:
    """Make the sets hold exactly these sources. Raises ApplyError; the sets are then as they were."""
    for attempt in range(TRIES):
        try:
            connection.transaction(_changes(connection, headers, sources))
        except RefusedError as error:
            if error.errno != errno.ENOENT or attempt == TRIES - 1:
                raise
        else:
            return


def verify(connection: Connection, sources: Sequence[ExemptSource]) -> list[Difference]:
    """Compare the sets with these sources. An element that has expired, or is about to, is no difference."""
    now = monotonic()
    wanted = {_name(one.owner.version, one.first, one.last): one.deadline for one in ranges(sources)}
    found = {
        _name(family, one.first, one.last): now + one.left * MILLISECOND
        for family in names.EXEMPT
        for one in read(connection, family)
    }
    return differences("exempt", wanted, found, now)


def totals(connection: Connection, sources: Sequence[ExemptSource]) -> dict[Network, tuple[int, int]]:
    """Return packets and bytes that passed because of each source; none of those that the sets do not hold."""
    there = {(family, one.first, one.last): one for family in names.EXEMPT for one in read(connection, family)}
    found: dict[Network, tuple[int, int]] = {}
    for one in ranges(sources):
        if held := there.get((one.owner.version, one.first, one.last)):
            packets, octets = found.get(one.owner, (0, 0))
            found[one.owner] = packets + held.packets, octets + held.octets
    return found


def _changes(
    connection: Connection, headers: Sequence[SetHeader], sources: Sequence[ExemptSource]
) -> list[NetlinkRequest]:
    now = monotonic()
    wanted = intervals(sources, now)
    family_of = {name: family for family, name in names.EXEMPT.items()}
    removals: list[NetlinkRequest] = []
    additions: list[NetlinkRequest] = []
    for header in headers:
        there = read(connection, family_of[header.name])
        by_first = {one.first: one for one in wanted[header.name]}
        stay = {one.first for one in there if _same(one, by_first.get(one.first))}
        gone = [one for one in there if one.first not in stay]
        new = [one for one in wanted[header.name] if one.first not in stay]
        removals += timed.remove(header, gone)
        additions += timed.add(header, [_counting_on(one, gone) for one in new])
    return [*removals, *additions]


def _same(there: TimedInterval, wanted: TimedInterval | None) -> bool:
    return wanted is not None and wanted.last == there.last and abs(there.left - wanted.left) * MILLISECOND <= SLACK


def _counting_on(new: TimedInterval, gone: Iterable[TimedInterval]) -> TimedInterval:
    """Let an element go on from the counts of the removed ones that begin in it."""
    before = [one for one in gone if new.first <= one.first <= new.last]
    packets, octets = sum(one.packets for one in before), sum(one.octets for one in before)
    return TimedInterval(new.first, new.last, new.left, packets, octets)


def _name(version: int, first: int, last: int) -> str:
    start, end = (ip_address(number.to_bytes(WIDTH[version], "big")) for number in (first, last))
    return str(start) if first == last else f"{start}-{end}"
