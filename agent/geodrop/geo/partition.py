# SPDX-License-Identifier: Apache-2.0
"""Partitions of an address family into intervals, each with a number: the only data structure of compiling.

A partition covers its whole family without gaps: interval i runs from `starts[i]` to just before `starts[i + 1]`, the
last one to the end of the family. So intervals cannot overlap and no address can be missing, and every step of the
compile is one of the few functions below.

IPv4 addresses are native uint32. IPv6 addresses are `S16`: 16 bytes, big-endian, which numpy compares as memcmp does
(padding NULs make no difference at equal width), so the same code serves both families.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Addresses = npt.NDArray[Any]
    Values = npt.NDArray[np.int32]

DTYPE = {4: np.dtype(np.uint32), 6: np.dtype("S16")}
BITS = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Partition:
    """`starts`: (n,) ascending, the first is address 0, dtype by family; `values`: (n,) int32."""

    family: int
    starts: Addresses
    values: Values

    def __len__(self) -> int:
        return len(self.starts)

    def lookup(self, addresses: Addresses) -> Values:
        """Return the values at the given addresses, in their order; shape (m,) -> (m,)."""
        return self.values[np.searchsorted(self.starts, addresses, side="right") - 1]

    def value_at(self, address: int) -> int:
        """Return the value at one address, given as an integer."""
        return int(self.lookup(encode(self.family, [address]))[0])

    def merged(self) -> Partition:
        """Return the same partition with neighbours of equal value joined."""
        keep = changes(self.values)
        if keep.all():
            return self
        return Partition(self.family, self.starts[keep], self.values[keep])

    def mapped(self, table: Values) -> Partition:
        """Return the partition with every value v replaced by `table[v]`, neighbours joined."""
        return Partition(self.family, self.starts, table[self.values]).merged()


def changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a value differs from the one before it; True for the first value."""
    different = np.ones(len(values), dtype=bool)
    different[1:] = values[1:] != values[:-1]
    return different


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the distinct values, ascending. np.unique would import numpy.ma, which takes 15 ms in every compile."""
    ordered = np.sort(values)
    return ordered[changes(ordered)]


def distinct_below(values: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    """Return the distinct values, ascending, of numbers from 0 to below `limit`; by counting if that is less work."""
    if limit > 4 * len(values):
        return distinct(values)
    return np.flatnonzero(np.bincount(values, minlength=1))


def encode(family: int, addresses: Iterable[int]) -> Addresses:
    """Return addresses, given as integers, as an array of the family's dtype."""
    if family == 4:
        return np.fromiter(addresses, dtype=np.uint32)
    packed = b"".join(address.to_bytes(16, "big") for address in addresses)
    return np.frombuffer(packed, dtype="S16")


def constant(family: int, value: int) -> Partition:
    """Return the whole family as one interval."""
    return Partition(family, encode(family, [0]), np.array([value], dtype=np.int32))


def combine(one: Partition, other: Partition) -> tuple[Addresses, Values, Values]:
    """Return the common refinement of two partitions: starts, and for each the value in `one` and in `other`."""
    large, small = (one, other) if len(one) >= len(other) else (other, one)
    at = np.searchsorted(large.starts, small.starts)
    # Both start at address 0, so every position found is inside `large` or just past its end.
    inside = at < len(large)
    new = np.ones(len(small), dtype=bool)
    new[inside] = large.starts[at[inside]] != small.starts[inside]
    starts, of_large = large.starts, large.values
    if new.any():
        starts = np.insert(starts, at[new], small.starts[new])
        # A start that only `small` has divides an interval of `large`, so it gets the value of that interval.
        of_large = np.insert(of_large, at[new], of_large[at[new] - 1])
    positions = at + np.cumsum(new) - new
    of_small = np.repeat(small.values, np.diff(positions, append=len(starts)))
    return (starts, of_large, of_small) if large is one else (starts, of_small, of_large)


def product(one: Partition, other: Partition) -> tuple[Partition, list[tuple[int, int]]]:
    """Combine two partitions: number each interval by its pair of values; return the pairs in order of number."""
    starts, left, right = combine(one, other)
    low = int(right.min())
    width = int(right.max()) - low + 1
    codes = left.astype(np.int64) * width + (right - low)
    present = distinct_below(codes, (int(left.max()) + 1) * width)
    pairs = [(int(code) // width, int(code) % width + low) for code in present]
    # A table, of which only the pages with present codes are ever touched.
    table = np.zeros(present[-1] + 1, dtype=np.int32)
    table[present] = np.arange(len(present))
    return Partition(one.family, starts, table[codes]), pairs


def longest_match(family: int, networks: Iterable[tuple[IPv4Network | IPv6Network, int]], outside: int) -> Partition:
    """Flatten nested networks: each address gets the number of the longest network that holds it, else `outside`.

    Networks of the other family are ignored. Networks either nest or are disjoint, so one pass over them in order of
    (start, length) with a stack of open networks is enough. If a network is given twice, its first number counts.
    """
    cls = IPv4Network if family == 4 else IPv6Network
    own: dict[tuple[int, int], int] = {}
    for network, number in networks:
        if isinstance(network, cls):
            own.setdefault((int(network.network_address), network.prefixlen), number)
    end_of_family = 1 << BITS[family]
    starts, values = [0], [outside]
    open_networks: list[tuple[int, int]] = [(end_of_family, outside)]

    def put(start: int, value: int) -> None:
        if starts[-1] == start:
            values[-1] = value
        else:
            starts.append(start)
            values.append(value)

    def close_until(address: int) -> None:
        while open_networks[-1][0] <= address:
            end, _ = open_networks.pop()
            if end < end_of_family:
                put(end, open_networks[-1][1])

    for (start, length), number in sorted(own.items()):
        close_until(start)
        put(start, number)
        open_networks.append((start + (1 << (BITS[family] - length)), number))
    close_until(end_of_family - 1)
    return Partition(family, encode(family, starts), np.array(values, dtype=np.int32)).merged()
