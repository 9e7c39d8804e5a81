"""What a database is used for, and of how many addresses it says something: the figures that name it in a ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geodrop.ruleset.model import Role
from geodrop.ruleset.region_parts import GLOBAL, LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.geo.database import Database
    from geodrop.geo.partition import Partition


def roles(database: Database) -> tuple[Role, ...]:
    """Return what a database says, with the number of IPv4 addresses and of IPv6 /48s of which it says it.

    The /48s are counted as in ruleset.region_parts: those of 2000::/3, without intervals larger than a /16.
    """
    return tuple(role for role in _roles(database) if role.ipv4 or role.ipv6_48s)


def _roles(database: Database) -> Iterator[Role]:
    places = database.ipv4, database.ipv6
    yield _role("country", places, [bool(region.country) for region in database.regions])
    yield _role("subdivision", places, [bool(region.subdivision) for region in database.regions])
    for name, layer in (("asn", database.networks), ("traits", database.traits)):
        yield _role(name, (layer.ipv4, layer.ipv6), [bool(value) for value in layer.values])


def _role(name: str, families: tuple[Partition, Partition], said: Sequence[bool]) -> Role:
    ipv4, ipv6 = (partition.mapped(np.array(said, dtype=np.int32)) for partition in families)
    starts = np.append(ipv4.starts.astype(np.int64), 1 << 32)
    sites = _sites(ipv6)
    return Role(name, int(np.diff(starts)[ipv4.values == 1].sum()), sites)


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
