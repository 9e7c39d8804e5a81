# SPDX-License-Identifier: Apache-2.0
"""What a database is used for, and of how many addresses it says something: the figures that name it in a ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.compile.sizes import size_of
from geodrop.ruleset.model import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.geo.database import Database
    from geodrop.geo.partition import Partition


def roles(database: Database) -> tuple[Role, ...]:
    """Return what a database says, with the number of IPv4 addresses and of IPv6 /48s of which it says it.

    The /48s are counted as in compile.sizes.
    """
    return tuple(role for role in _roles(database) if role.ipv4 or role.ipv6_48s)


def _roles(database: Database) -> Iterator[Role]:
    places = database.ipv4, database.ipv6
    yield _role("country", places, [bool(region.country) for region in database.regions])
    yield _role("subdivision", places, [bool(region.subdivision) for region in database.regions])
    for name, layer in (("asn", database.networks), ("traits", database.traits)):
        yield _role(name, (layer.ipv4, layer.ipv6), [bool(value) for value in layer.values])


def _role(name: str, families: tuple[Partition, Partition], said: Sequence[bool]) -> Role:
    return Role(name, *size_of(*families, said))
