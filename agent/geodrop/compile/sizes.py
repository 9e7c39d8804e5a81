# SPDX-License-Identifier: Apache-2.0
"""How many addresses a part of the world has: IPv4 in addresses, IPv6 in /48s as ruleset.region_parts counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geodrop.geo.world import EMBEDDINGS
from geodrop.ruleset.region_parts import GLOBAL, LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geodrop.geo.partition import Partition
    from geodrop.geo.world import RegionMap
    from geodrop.policy.countries import Region

MARKS = 1 + len(EMBEDDINGS)
"""Negative values of a RegionMap: special and embedding addresses, which have no size here."""


class Size(NamedTuple):
    """IPv4 addresses, and those /48s of 2000::/3 that hold an address, without intervals larger than a /16."""

    ipv4: int
    ipv6_48s: int


def size_of(ipv4: Partition, ipv6: Partition, chosen: Sequence[bool]) -> Size:
    """Return the size of the addresses whose value is chosen; `chosen` has an entry for each value from 0 on."""
    # A negative value is an index from the end.
    table = np.array([*chosen, *[False] * MARKS], dtype=np.int32)
    ipv4, ipv6 = ipv4.mapped(table), ipv6.mapped(table)
    starts = np.append(ipv4.starts.astype(np.int64), 1 << 32)
    return Size(int(np.diff(starts)[ipv4.values == 1].sum()), _sites(ipv6))


def size_where(region_map: RegionMap, chosen: Callable[[Region], bool]) -> Size:
    """Return the size of the regions of a map that are chosen."""
    return size_of(region_map.ipv4, region_map.ipv6, [chosen(region) for region in region_map.regions])


def _sites(partition: Partition) -> int:
    """Return the number of /48s that hold an address with the value 1."""
    low, high = GLOBAL
    halves = np.frombuffer(np.ascontiguousarray(partition.starts).tobytes(), dtype=">u8").reshape(-1, 2)
    first = (halves[:, 0] >> np.uint64(16)).astype(np.int64)
    inside = ((halves[:, 0] & np.uint64(0xFFFF)) != 0) | (halves[:, 1] != 0)
    ends = np.append(first[1:] + inside[1:], 1 << 48)
    sizes = np.clip(ends, low, high) - np.clip(first, low, high)
    counted = (partition.values == 1) & (sizes > 0) & (sizes <= LARGEST)
    return int(sizes[counted].sum())
