# SPDX-License-Identifier: Apache-2.0
"""Find packets that two services both take, by addresses, protocols and ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.policy.model import Match, Network

_PORT_PROTOCOLS = (("tcp", 6), ("udp", 17))


def common_packets(one: Match, other: Match) -> str | None:
    """Return an example of what both take, for a message; None if there is no such packet.

    A catch-all takes only packets that no service with a match takes, so it overlaps only another catch-all.
    """
    if one.catch_all and other.catch_all:
        return "every packet that no other service takes"
    if one.catch_all or other.catch_all:
        return None
    transport = _common_transport(one, other)
    if transport is None:
        return None
    if not one.addresses or not other.addresses:
        address = next(iter(one.addresses or other.addresses), None)
    else:
        address = _common_address(one.addresses, other.addresses)
        if address is None:
            return None
    return f"{transport} to {address}" if address else transport


def _common_transport(one: Match, other: Match) -> str | None:
    if not (one.ports or one.protocols):
        return _first_transport(other)
    if not (other.ports or other.protocols):
        return _first_transport(one)
    for word, number in _PORT_PROTOCOLS:
        port = _common_port(_ranges(one, word, number), _ranges(other, word, number))
        if port is not None:
            return f"{word}/{port}"
    numbers = set(one.protocols) & set(other.protocols)
    return f"protocol {min(numbers)}" if numbers else None


def _first_transport(match: Match) -> str:
    """Return an example of what the service takes, if the other has no limit on ports and protocols."""
    for word, _ in _PORT_PROTOCOLS:
        ranges: Sequence[tuple[int, int]] = getattr(match.ports, word)
        if ranges:
            return f"{word}/{ranges[0][0]}"
    return f"protocol {match.protocols[0]}" if match.protocols else "every packet"


def _ranges(match: Match, word: str, number: int) -> Sequence[tuple[int, int]]:
    """Return the ports of tcp or udp that a match with ports or protocols takes."""
    if number in match.protocols:
        return ((0, 65_535),)
    ranges: Sequence[tuple[int, int]] = getattr(match.ports, word)
    return ranges


def _common_port(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> int | None:
    """Return the lowest port in both; ranges are sorted and disjoint."""
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            return low
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return None


def _common_address(one: Sequence[Network], other: Sequence[Network]) -> Network | None:
    """Return a network in both; both are sorted and disjoint, IPv4 first."""
    i = j = 0
    while i < len(one) and j < len(other):
        a, b = one[i], other[j]
        if a.version == b.version and a.overlaps(b):
            return max(a, b, key=lambda network: network.prefixlen)
        if (a.version, int(a.broadcast_address)) < (b.version, int(b.broadcast_address)):
            i += 1
        else:
            j += 1
    return None
