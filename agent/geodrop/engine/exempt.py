# SPDX-License-Identifier: Apache-2.0
"""Sources that pass for a limited time although a service denies them. Pure.

Deadlines are nanoseconds of CLOCK_MONOTONIC, which nobody can set. Where exempt networks overlap, an address passes
until the latest of their deadlines.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from geodrop.engine.api import Difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

Network = IPv4Network | IPv6Network

SLACK = 2_000_000_000
"""Nanoseconds: deadlines that are this close are equal, since nftables counts in ticks from the moment of a commit."""

FOR_GOOD = 1 << 62
"""A deadline that no machine lives to see: what another program lets pass without an end."""

NONE = "not exempt"


@dataclass(frozen=True, slots=True)
class ExemptSource:
    """A network whose packets pass until a deadline."""

    network: Network
    deadline: int


@dataclass(frozen=True, slots=True)
class ExemptRange:
    """Addresses of one family from `first` to `last` that share a deadline; `owner` is the network that sets it."""

    owner: Network
    first: int
    last: int
    deadline: int


def merged(sources: Iterable[ExemptSource]) -> list[ExemptSource]:
    """Leave out every network inside another one that passes at least as long. The rest is in order of addresses.

    So the longest network that holds an address always has the latest deadline.
    """
    kept: list[ExemptSource] = []
    around: list[ExemptSource] = []
    for one in sorted(sources, key=_order):
        while around and not holds(around[-1].network, one.network):
            around.pop()
        if not around or around[-1].deadline < one.deadline:
            kept.append(one)
            around.append(one)
    return kept


def ranges(sources: Iterable[ExemptSource]) -> list[ExemptRange]:
    """Cut sources into disjoint ranges, each with the latest deadline of its addresses, in order of addresses."""
    kept = merged(sources)
    return [one for version in (4, 6) for one in _cut([some for some in kept if some.network.version == version])]


def _cut(kept: Sequence[ExemptSource]) -> Iterator[ExemptRange]:
    around: list[ExemptSource] = []
    at = 0
    for one in (*kept, None):
        first = int(one.network[0]) if one else None
        while around and (first is None or int(around[-1].network[-1]) < first):
            last = int(around[-1].network[-1])
            if at <= last:
                yield ExemptRange(around[-1].network, at, last, around[-1].deadline)
            at = max(at, last + 1)
            around.pop()
        if one is None or first is None:
            return
        if around and at < first:
            yield ExemptRange(around[-1].network, at, first - 1, around[-1].deadline)
        at = first
        around.append(one)


def exempt_until(sources: Iterable[ExemptSource], address: IPv4Address | IPv6Address) -> int | None:
    """Return the deadline until which an address passes; None if it is not exempt."""
    return max((one.deadline for one in sources if address in one.network), default=None)


def differences(where: str, wanted: Mapping[str, int], found: Mapping[str, int], now: int) -> list[Difference]:
    """Compare deadlines by name of the addresses. What has just expired, or is about to, may be there or not."""
    wrong = []
    for name in sorted(wanted.keys() | found.keys()):
        until, there = wanted.get(name, now), found.get(name, now)
        if abs(max(until, now) - max(there, now)) > SLACK:
            wrong.append(Difference(f"{where} {name}", _left(wanted.get(name), now), _left(found.get(name), now)))
    return wrong


def _left(deadline: int | None, now: int) -> str:
    if deadline is None:
        return NONE
    return "exempt for good" if deadline > FOR_GOOD else f"exempt for {max(deadline - now, 0) / 1e9:.0f} s"


def holds(outer: Network, inner: Network) -> bool:
    """Tell whether a network holds all addresses of another one."""
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)


def _order(one: ExemptSource) -> tuple[int, int, int, int]:
    network = one.network
    return network.version, int(network.network_address), network.prefixlen, -one.deadline
