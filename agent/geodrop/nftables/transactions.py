# SPDX-License-Identifier: Apache-2.0
"""Transactions that fill and delete; and the error for a kernel that differs afterwards."""

from __future__ import annotations

import itertools
from types import MappingProxyType
from typing import TYPE_CHECKING

from geodrop.engine.api import Difference
from geodrop.errors import ApplyError
from geodrop.nftables import diff, names, readback
from geodrop.nftables.netlink import messages, timed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from geodrop.nftables.model import Chain, Map, Program, Snapshot, Surplus
    from geodrop.nftables.netlink.connection import Connection
    from geodrop.nftables.netlink.timed import TimedInterval
    from geodrop.nftables.netlink.wire import NetlinkRequest

    Totals = Mapping[str, tuple[int, int]]

NO_SOURCES: Mapping[str, Sequence[TimedInterval]] = MappingProxyType({})

TRANSACTION = 2 << 20
"""Bytes of one transaction of a fill, which it costs in memory. More transactions cost time: for each, the kernel
checks the rules in force.
"""


def fill(
    new: Sequence[Program],
    before: Snapshot | None,
    lost: Totals,
    exempt: Mapping[str, Sequence[TimedInterval]] = NO_SOURCES,
) -> Iterator[NetlinkRequest]:
    """Make everything of generations; no rule leads to them yet. Lost counters continue from their totals in `lost`.

    Sets of the table that are missing hold `exempt` from the beginning, by the name of the set.
    """
    if before is None:
        yield messages.new_table(readback.TABLE_COMMENT)
    known = before.counters if before else {}
    wanted = (*(name for one in new for name in one.counters), *(name for name in lost if names.counter(name)))
    counters = {name: lost.get(name, (0, 0)) for name in wanted if name not in known}
    there = before.own_sets if before else {}
    for header in dict.fromkeys(header for one in new for header in one.sets):
        if header.name not in there:
            yield timed.new_set(header)
            yield from timed.add(header, exempt.get(header.name, ()))
    chains, maps = [chain for one in new for chain in one.chains], [map_ for one in new for map_ in one.maps]
    yield from added(counters, chains, maps)


def added(counters: Totals, chains: Sequence[Chain], maps: Sequence[Map]) -> Iterator[NetlinkRequest]:
    """Make counters, chains, maps and rules, in an order in which every name exists before it is used."""
    yield from (messages.new_counter(name, *total) for name, total in counters.items())
    yield from map(messages.new_chain, chains)
    yield from (messages.new_map(map_.header) for map_ in maps)
    for map_ in maps:
        yield from messages.new_elements(map_)
    numbers = itertools.count(1)
    for chain in chains:
        yield from messages.new_rules(chain.name, chain.rules, numbers)


def take_away(connection: Connection, surplus: Surplus, snapshot: Snapshot) -> None:
    """Delete surplus objects. A chain with a hook goes together with its rules: without rules,
    its policy would judge.
    """
    if not surplus:
        return
    called = [name for name in surplus.chains if snapshot.chains[name].hook]
    connection.transaction(
        itertools.chain(
            map(messages.delete_rules, surplus.chains),
            map(messages.delete_chain, called),
            map(messages.delete_set, surplus.sets),
        )
    )
    # In a second transaction: kernels before 6.4 release the chains that elements lead to only after the first.
    connection.transaction(
        itertools.chain(
            (messages.delete_chain(name) for name in surplus.chains if name not in called),
            itertools.starmap(messages.delete_object, surplus.objects),
            map(messages.delete_flowtable, surplus.flowtables),
        )
    )


def raise_any(differences: Iterable[Difference]) -> None:
    """Raise ApplyError for the first difference, if there is any."""
    if found := list(differences):
        first = found[0]
        more = f" ({len(found) - 1} more differences)" if len(found) > 1 else ""
        raise ApplyError(
            f"read back, the kernel differs in {first.where}: expected {first.expected}, found {first.found}{more}",
            "what was in force before is restored; look for another program that changes nftables rules: nft monitor",
        )


def no_table() -> Difference:
    """Report that our table is gone."""
    return Difference(f"table inet {names.TABLE}", "a table", diff.ABSENT)
