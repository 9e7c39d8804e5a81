# SPDX-License-Identifier: Apache-2.0
"""Choose addresses to test a world-size database with: random ones, and both sides of its boundaries."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from tests.oracle import world
from tests.oracle.strategies import around, embed

if TYPE_CHECKING:
    from maxminddb.reader import Reader

    Address = IPv4Address | IPv6Address

ALLOCATED = [
    ip_network(text) for text in ("2001:200::/23", "2400::/12", "2600::/12", "2800::/12", "2a00::/11", "2c00::/12")
]
"""Where IPv6 is in use: nearly all of a database's IPv6 boundaries lie here (IANA's unicast assignments)."""

WALK = 40
"""Boundaries followed from each starting point; each network's end leads to the next network."""


def sample(reader: Reader, count: int, seed: int) -> list[str]:
    """Return `count` addresses, the same for the same database and seed.

    They are boundaries of the database in both families, the edges of special ranges, IPv4 embedded in all four ways,
    and random addresses from every part of both families.
    """
    chance = random.Random(seed)
    found = [address for text, _ in world.REGISTRY for address in around(ip_network(text))]
    found += [address for text in found if ":" not in text for address in embed(text)]
    while len(found) < count:
        found += [str(address) for address in _walk(reader, _start(chance))]
        ipv4 = str(IPv4Address(chance.getrandbits(32)))
        found += [ipv4, chance.choice(embed(ipv4)), str(IPv6Address(chance.getrandbits(128)))]
        found.append(str(IPv6Address(0x2 << 124 | chance.getrandbits(125))))
    chance.shuffle(found)
    return found[:count]


def _start(chance: random.Random) -> Address:
    if chance.random() < 0.5:
        return IPv4Address(chance.getrandbits(32))
    network = chance.choice(ALLOCATED)
    return IPv6Address(int(network.network_address) + chance.getrandbits(128 - network.prefixlen))


def _walk(reader: Reader, address: Address) -> list[Address]:
    """Return the first and last addresses of neighbouring networks of the database."""
    found: list[Address] = []
    for _ in range(WALK):
        length: int = reader.get_with_prefix_len(address)[1]
        network: Any = ip_network(
            (int(address), length) if address.version == 4 else (address.packed, length), strict=False
        )
        found += [network[0], network[-1]]
        following = int(network[-1]) + 1
        if following >> address.max_prefixlen:
            break
        address = ip_address(following) if address.version == 4 else IPv6Address(following)
    return found
