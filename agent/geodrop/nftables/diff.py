# SPDX-License-Identifier: Apache-2.0
"""Compare what should be in the kernel with what was read back. Pure."""

from __future__ import annotations

import ipaddress
import itertools
from typing import TYPE_CHECKING

from geodrop.engine.api import TICKS, Difference
from geodrop.nftables import names, overlay
from geodrop.nftables.model import Surplus
from geodrop.nftables.netlink import elements, expressions
from geodrop.ruleset import intervals

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from geodrop.nftables.model import Chain, Expiry, Map, MapHeader, Program, Rule, Snapshot

ABSENT = "nothing"
EXPLAINED = 20
"""The number of differing intervals of a map that are shown one by one."""


def structure(
    program: Program, base: Chain, snapshot: Snapshot, beside: Sequence[Program] = (), window: str = ""
) -> list[Difference]:
    """Compare everything except the elements of maps, and report what should not be there.

    `beside` and `window` are what else should be there while a generation is not confirmed.
    """
    more = surplus(program, snapshot, beside, window)
    return [
        *(difference for one in (program, *beside) for difference in generation(one, snapshot)),
        *chain_differences(base, snapshot.chains.get(base.name)),
        *(Difference(f"chain {name}", ABSENT, "a chain", surplus=True) for name in more.chains),
        *(
            Difference(f"{what} {name}", ABSENT, f"a {what}", surplus=True)
            for what, found in (
                ("map", [name for name in more.sets if name in snapshot.maps]),
                ("set", [name for name in more.sets if name not in snapshot.maps]),
                ("named object", [name for _, name in more.objects]),
                ("flowtable", more.flowtables),
            )
            for name in found
        ),
        *flags(snapshot.flags),
    ]


def surplus(program: Program, snapshot: Snapshot, beside: Sequence[Program] = (), window: str = "") -> Surplus:
    """Return what is in the table beyond the base chain, the program's generation and the base that it stands on.

    `beside` and `window` as for `structure`.
    """
    programs = (program, *beside)
    chains = {chain.name for one in programs for chain in one.chains}
    maps = {map_.header.name for one in programs for map_ in one.maps}
    sets = (*snapshot.maps, *snapshot.sets, *snapshot.windows)
    return Surplus(
        tuple(_others(program, snapshot.chains, {names.BASE, *chains})),
        tuple(_others(program, sets, {window, *maps})),
        snapshot.objects,
        snapshot.flowtables,
    )


def generation(program: Program, snapshot: Snapshot) -> Iterator[Difference]:
    """Compare what one generation owns, whether packets are led to it or not."""
    for chain in program.chains:
        yield from chain_differences(chain, snapshot.chains.get(chain.name))
    for chain in program.shared_chains:
        if chain.name in snapshot.chains:
            yield from chain_differences(chain, snapshot.chains[chain.name])
    for map_ in program.maps:
        found = snapshot.maps.get(map_.header.name)
        if found != map_.header:
            yield Difference(f"map {map_.header.name}", _header(map_.header), _header(found))
    for header in program.sets:
        there = snapshot.own_sets.get(header.name)
        if there != header:
            yield Difference(f"set {header.name}", "a set of exempt sources", "another set" if there else ABSENT)
    for name in program.counters:
        if name not in snapshot.counters:
            yield Difference(f"counter {name}", "a counter", ABSENT)


def expiry(name: str, found: Expiry | None, deadline: int, now: int) -> Iterator[Difference]:
    """Compare when a window ends, in nanoseconds of CLOCK_MONOTONIC; one that has just ended, or ends now, agrees."""
    if abs(now - deadline) <= TICKS:
        return
    wanted = f"{(deadline - now) / 1e9:.0f} s left" if now < deadline else "over"
    there = f"{(found.earliest - now) / 1e9:.0f} s left" if found else "over"
    if (now < deadline) != (found is not None) or (found and not found.is_at(deadline)):
        yield Difference(f"set {name}", wanted, there)


def flags(found: int) -> Iterator[Difference]:
    """Compare the flags of the table: a dormant table judges nothing."""
    if found:
        yield Difference(f"table inet {names.TABLE}", "no flags", f"flags {found:#x}")


def chain_differences(expected: Chain, found: Chain | None) -> Iterator[Difference]:
    """Compare one chain, rule by rule."""
    where = f"chain {expected.name}"
    if found is None:
        yield Difference(where, "a chain", ABSENT)
        return
    if found.hook != expected.hook:
        yield Difference(where, str(expected.hook or "no hook"), str(found.hook or "no hook"))
    if found.comment != expected.comment:
        yield Difference(where, f"comment {expected.comment!r}", f"comment {found.comment!r}")
    for number, (wanted, there) in enumerate(itertools.zip_longest(expected.rules, found.rules), start=1):
        if wanted != there:
            yield Difference(f"{where}, rule {number}", _rule(wanted), _rule(there))


def content(map_: Map, dumped: Sequence[memoryview]) -> list[Difference]:
    """Compare the elements of a map with its dump, byte for byte; decode them only to explain a difference."""
    if _same_bytes(elements.lists(map_.content, descending=True), dumped):
        return []
    width = map_.content.width
    wanted = _decoded([memoryview(piece) for piece in elements.lists(map_.content)], width)
    there = _decoded(dumped, width)
    if wanted == there:
        return []  # the same elements in a different order
    return _explained(f"map {map_.header.name}", wanted, there, width)


def two_contents(map_: Map, dumped: Sequence[memoryview], base_dumped: Sequence[memoryview]) -> list[Difference]:
    """Compare an overlay's map and the base map under it with `map_.content`, which both together should hold."""
    width = map_.content.width
    in_no_map = str(map_.content.verdicts[-1])
    under = (
        (start, last + 1, overlay.translated(verdict, map_))
        for (start, last), verdict in _decoded(base_dumped, width).items()
    )
    over = ((start, last + 1, verdict) for (start, last), verdict in _decoded(dumped, width).items())
    held = ((start, behind, str(two or one)) for start, behind, one, two in intervals.side_by_side(under, over))
    whole = _decoded([memoryview(piece) for piece in elements.lists(map_.content)], width)
    wanted = ((start, last + 1, verdict) for (start, last), verdict in whole.items())
    expected, found = (
        {(start, behind - 1): verdict for start, behind, verdict in intervals.joined(some) if verdict != in_no_map}
        for some in (wanted, held)
    )
    return _explained(f"map {map_.header.name} over {map_.base_map}", expected, found, width)


def _explained(
    where: str, wanted: Mapping[tuple[int, int], str], there: Mapping[tuple[int, int], str], width: int
) -> list[Difference]:
    keys = sorted(key for key in wanted.keys() | there.keys() if wanted.get(key) != there.get(key))
    shown = [
        Difference(f"{where}, {_interval(*key, width)}", wanted.get(key, ABSENT), there.get(key, ABSENT))
        for key in keys[:EXPLAINED]
    ]
    if len(keys) > EXPLAINED:
        shown.append(Difference(where, f"{len(wanted)} intervals", f"{len(keys) - EXPLAINED} more that differ"))
    return shown


def _same_bytes(expected: Iterator[bytes], dumped: Sequence[memoryview]) -> bool:
    """Tell whether two streams of bytes are equal, though they are cut at different places."""
    rest = memoryview(b"")
    for piece in dumped:
        at = 0
        while at < len(piece):
            if not rest:
                rest = memoryview(next(expected, b""))
                if not rest:
                    return False
            size = min(len(rest), len(piece) - at)
            if rest[:size] != piece[at : at + size]:
                return False
            rest, at = rest[size:], at + size
    return not rest and next(expected, None) is None


def _decoded(lists: Sequence[memoryview], width: int) -> dict[tuple[int, int], str]:
    ranges = elements.ranges(elements.decode(lists), width, interval=True)
    return {(first, last): str(verdict) for first, last, verdict in ranges}


def _interval(first: int, last: int, width: int) -> str:
    make = ipaddress.IPv4Address if width == 4 else ipaddress.IPv6Address
    return str(make(first)) if first == last else f"{make(first)}-{make(last)}"


def _others(program: Program, there: Iterable[str], ours: Container[str]) -> Iterator[str]:
    """Yield the names that should not be there. Everything of the base stays, even what is no longer looked up."""
    shared = {chain.name for chain in program.shared_chains}
    return (
        name
        for name in there
        if name not in ours
        and name not in shared
        and (program.base is None or names.generation_of(name) != program.base)
    )


def _rule(rule: Rule | None) -> str:
    if rule is None:
        return ABSENT
    return expressions.text(rule.expressions) + (f' comment "{rule.comment}"' if rule.comment else "")


def _header(header: MapHeader | None) -> str:
    return ABSENT if header is None else f'{header.key.name.lower()} : verdict, comment "{header.comment}"'
