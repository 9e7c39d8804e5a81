# SPDX-License-Identifier: Apache-2.0
"""Addresses as numbers, as people write them, and as columns of the compiler."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import numpy as np

from geodrop.policy.special import EMBEDDED

if TYPE_CHECKING:
    from geodrop.geo.partition import Addresses


def address_text(family: int, address: int) -> str:
    """Return the integer of one address."""
    return str(IPv4Address(address) if family == 4 else IPv6Address(address))


def decode(family: int, addresses: Addresses) -> list[int]:
    """The inverse of `partition.encode`."""
    if family == 4:
        return [int(address) for address in addresses]
    packed = np.ascontiguousarray(addresses).tobytes()
    return [int.from_bytes(packed[i : i + 16], "big") for i in range(0, len(packed), 16)]


def embedding(address: IPv6Address) -> str | None:
    """The name in `EMBEDDED` of the range that holds the address, else None."""
    return next((name for name, network in EMBEDDED.items() if address in network), None)
