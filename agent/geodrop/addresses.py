# SPDX-License-Identifier: Apache-2.0
"""Parse addresses and networks from text: as packets have them, without the zone that `ipaddress` takes and keeps.

A zone names an interface of one host (RFC 4007, 11: `fe80::1%eth0`); `ipaddress` takes any text for one, of any length
and with any characters.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

ZONE = "%"


def address_of(text: str) -> IPv4Address | IPv6Address:
    """Return the address that a text means. Raises ValueError, which says what is wrong with it."""
    kind = IPv6Address if ":" in text else IPv4Address
    return kind(_without_zone(text))


def network_of(text: str, *, strict: bool = True) -> IPv4Network | IPv6Network:
    """Return the network that a text means; with `strict`, no bits are set after its length. Raises ValueError."""
    return ip_network(_without_zone(text), strict=strict)


def _without_zone(text: str) -> str:
    if ZONE in text:
        raise ValueError(f"{text!r} has a zone, which no packet has")
    return text
