# SPDX-License-Identifier: Apache-2.0
"""Sets of addresses of one family as spans: inclusive ranges of numbers, sorted, disjoint and never adjacent."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from geodrop.policy.values import merged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.policy.model import Network

    Spans = tuple[tuple[int, int], ...]


def span(network: Network) -> tuple[int, int]:
    """Return first and last address of a network."""
    first = int(network.network_address)  # broadcast_address would make an object, and lists may have millions
    return first, first + (1 << network.max_prefixlen - network.prefixlen) - 1


def spans(networks: Iterable[Network], version: int) -> Spans:
    """Return the addresses of the networks of one family as spans."""
    return merged(span(network) for network in networks if network.version == version)


def without(one: Spans, other: Spans) -> Spans:
    """Return the addresses of `one` that are not in `other`."""
    left: list[tuple[int, int]] = []
    starts = [first for first, _ in other]
    for low, high in one:
        first = low
        for cut_first, cut_last in other[max(0, bisect_right(starts, low) - 1) : bisect_right(starts, high)]:
            if cut_last < first:
                continue
            if cut_first > first:
                left.append((first, cut_first - 1))
            first = cut_last + 1
        if first <= high:
            left.append((first, high))
    return tuple(left)


def size(one: Spans) -> int:
    """Return how many addresses are in spans."""
    return sum(last - first + 1 for first, last in one)


def meets(one: Spans, first: int, last: int) -> bool:
    """Return whether any address from first to last is in the spans."""
    # The last span that begins at or before `last`, if any.
    number = bisect_right(one, last, key=lambda span: span[0]) - 1
    return number >= 0 and one[number][1] >= first
