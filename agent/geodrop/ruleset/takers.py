# SPDX-License-Identifier: Apache-2.0
"""Which services take a packet: by protocol, destination port and local address, as the engines decide it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.ruleset.meta import Meta, ServiceSpec

    Ranges = Sequence[tuple[int, int]]

Address = IPv4Address | IPv6Address

TCP, UDP = 6, 17
"""Protocol numbers, by IANA."""


def takers(meta: Meta, protocol: int, port: int, local: Address) -> list[ServiceSpec]:
    """Return the services that take a packet; a catch-all takes it unless an enforced service with a match does."""
    found = [one for one in meta.services if not one.catch_all and takes(one, protocol, port, local)]
    if not any(one.mode == "enforce" for one in found):
        found += [one for one in meta.services if one.catch_all]
    return found


def takes(service: ServiceSpec, protocol: int, port: int, local: Address) -> bool:
    """Return whether the match of a service fits a packet."""
    if service.addresses and not any(local in ip_network(text, strict=False) for text in service.addresses):
        return False
    if protocol in service.protocols or not (service.tcp or service.udp or service.protocols):
        return True
    return covered({TCP: service.tcp, UDP: service.udp}.get(protocol, ()), port)


def covered(ranges: Ranges, port: int) -> bool:
    """Return whether a port is in one of the ranges, ends included."""
    return any(first <= port <= last for first, last in ranges)
