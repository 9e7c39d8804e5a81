# SPDX-License-Identifier: Apache-2.0
"""Find in the kernel the base that an overlay stands on (see `overlay`), and read both back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.engine.api import Difference
from geodrop.nftables import diff, names, overlay, readback, render
from geodrop.nftables.netlink import elements, messages
from geodrop.nftables.overlay import Base
from geodrop.nftables.stamp import Stamp
from geodrop.ruleset.model import Ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.nftables.model import Map, Program, Snapshot
    from geodrop.nftables.netlink.connection import Connection
    from geodrop.nftables.readback import InForce

Kept = Callable[[str], Ruleset | None]
"""Finds a ruleset by its digest; None if it is not kept."""

SAMPLE = 64
"""The number of random intervals of each base map that are looked up, with the addresses behind them."""


def found(before: Snapshot, current: InForce, ruleset: Ruleset, kept: Kept) -> Base | None:
    """Return the base that an overlay of this ruleset can stand on, with what differs;
    None if no overlay is possible.
    """
    base = _of(before, current.generation if current.base is None else current.base)
    old = kept(base.digest) if base else None
    if base is None or old is None:
        return None
    # Chains that elements of the base lead to must do the same in this ruleset: the mode of a service may have changed.
    for chain in render.build(ruleset, current.generation, (), 0, base).shared_chains:
        if names.generation_of(chain.name) == base.generation and before.chains.get(chain.name, chain) != chain:
            return None
    differing = overlay.delta(old, ruleset, base)
    return None if differing is None else replace(base, delta=differing)


def in_force(snapshot: Snapshot, current: InForce) -> tuple[Base | None, list[Difference]]:
    """Return the base of what is in force (None for a whole generation), and what is wrong with it."""
    if current.base is None:
        return None, []
    if base := _of(snapshot, current.base):
        return base, []
    where = f"chain {names.generation_chain(current.base)}"
    return None, [Difference(where, f"what generation {current.generation} stands on", "something else")]


def content(connection: Connection, map_: Map) -> list[Difference]:
    """Compare all elements of a map, together with those of its base map if it has one."""
    dumped = readback.dump_elements(connection, map_.header.name)
    if map_.base_map:
        return diff.two_contents(map_, dumped, readback.dump_elements(connection, map_.base_map))
    return diff.content(map_, dumped)


def differences(connection: Connection, together: Program) -> Iterator[Difference]:
    """Compare a sample of what an overlay and its base hold together.

    The base was read back when it was filled. It cannot have changed since: the kernel refuses changes.
    """
    for map_ in together.maps:
        if map_.base_map:
            expected = overlay.sample(map_.content, SAMPLE)
            in_no_map = str(map_.content.verdicts[-1])
            for address, said in zip(expected, _ask(connection, map_, list(expected)), strict=True):
                wanted, there = expected[address] or in_no_map, said or in_no_map
                if wanted != there:
                    yield Difference(f"map {map_.header.name} over {map_.base_map}", wanted, there)


def _of(snapshot: Snapshot, generation: int) -> Base | None:
    """Return a generation as a base; None if another program changed its stamp."""
    chain = snapshot.chains.get(names.generation_chain(generation))
    stamp = Stamp.parse(chain.comment) if chain else None
    if stamp is None:
        return None
    return Base(generation, stamp.digest, snapshot.maps.keys(), regions=readback.tells_apart(snapshot, generation))


def _ask(connection: Connection, map_: Map, addresses: Sequence[bytes]) -> list[str]:
    """Look up addresses in a map, then in its base map; an empty text where neither has an element."""
    answers = [
        connection.ask([messages.get_element(name, address) for address in addresses])
        for name in (map_.header.name, map_.base_map)
    ]
    return [
        _verdict(upper) if upper is not None else overlay.translated(_verdict(lower), map_)
        for upper, lower in zip(*answers, strict=True)
    ]


def _verdict(answer: memoryview | None) -> str:
    if answer is None:
        return ""
    [(_, _, verdict)] = elements.decode([messages.read_elements(answer)])
    return str(verdict or "")
