# SPDX-License-Identifier: Apache-2.0
"""Selectors for the packets that a service takes, by local address, protocol and port. Pure."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING

from geodrop.engine import control_traffic
from geodrop.nftables.matches import FRAGMENT, among, family, singles
from geodrop.nftables.netlink.expressions import Bitwise, Cmp, ExtensionHeader, Payload
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, PayloadBase
from geodrop.nftables.transport import VISIBLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.nftables.matches import Ranges, Selector
    from geodrop.ruleset.model import ServiceSpec

PORTED = (control_traffic.TCP, control_traffic.UDP)
"""The protocols whose ports a service can name."""

_DESTINATION = {4: Payload(PayloadBase.NETWORK, 16, 4), 6: Payload(PayloadBase.NETWORK, 24, 16)}
_ADDRESS_TYPE = {4: KeyType.IPV4_ADDR, 6: KeyType.IPV6_ADDR}
_FRAGMENT_PROTOCOL = ExtensionHeader(FRAGMENT, 0, 1)
_WHOLE = ((0, 0xFFFF),)


def taken_ranges(service: ServiceSpec, protocol: int) -> Ranges:
    """Return the TCP or UDP destination ports on which a service takes packets; all ports if it names none."""
    if takes_whole(service, protocol):
        return _WHOLE
    return service.tcp if protocol == control_traffic.TCP else service.udp


def takes_whole(service: ServiceSpec, protocol: int) -> bool:
    """Tell whether a service takes a protocol regardless of ports."""
    return protocol in service.protocols or not (service.tcp or service.udp or service.protocols)


def intersection(one: Ranges, other: Ranges) -> list[tuple[int, int]]:
    """Return the ports that are in both."""
    pairs = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return sorted((first, last) for first, last in pairs if first <= last)


def takes_any(service: ServiceSpec, protocol: int) -> bool:
    """Tell whether a service takes any packet of a protocol."""
    asked_for = {control_traffic.TCP: service.tcp, control_traffic.UDP: service.udp}.get(protocol)
    return bool(asked_for) or takes_whole(service, protocol)


def of_service(service: ServiceSpec) -> list[Selector]:
    """Select what a service takes. The selectors are disjoint, so a packet is judged once. An empty one means
    everything.
    """
    by_port = [VISIBLE.destination_ports(numbers, ranges) for ranges, numbers in ports(service).items()]
    if service.protocols:
        by_port.append(VISIBLE.protocols(service.protocols))
    return [(*address, *port) for port in by_port or [()] for address in at_addresses(service)]


def of_service_by_family(service: ServiceSpec) -> list[tuple[int, Selector]]:
    """Select what a service takes, as (family, selector); each selector checks its family."""
    by_address = _local_addresses(service.addresses) or {version: family(version) for version in (4, 6)}
    without_addresses = of_service(replace(service, addresses=()))
    return [(version, (*start, *port)) for port in without_addresses for version, start in by_address.items()]


def of_later_fragments(service: ServiceSpec) -> list[Selector]:
    """Select the later fragments that a service takes. A service with ports takes none: the first fragment decided."""
    if service.protocols:
        starts = _local_addresses(service.addresses) or {version: family(version) for version in (4, 6)}
        return [(*start, *_fragment_protocols(version, service.protocols)) for version, start in starts.items()]
    return [] if service.tcp or service.udp else at_addresses(service)


def at_addresses(service: ServiceSpec) -> list[Selector]:
    """Select everything sent to a service's local addresses; an empty selector if the service names none."""
    return list(_local_addresses(service.addresses).values()) or [()]


def ports(service: ServiceSpec) -> dict[Ranges, list[int]]:
    """Return the ports that a service names, with their protocols, without protocols that it takes whole."""
    # The same ports of both protocols share a rule: the kernel checks a map again for each rule that looks it up.
    by_ranges: dict[Ranges, list[int]] = {}
    for protocol, ranges in ((control_traffic.TCP, service.tcp), (control_traffic.UDP, service.udp)):
        if ranges and protocol not in service.protocols:
            by_ranges.setdefault(ranges, []).append(protocol)
    return by_ranges


def _fragment_protocols(version: int, numbers: Iterable[int]) -> Selector:
    """Select later fragments of these protocols; the family has been checked already."""
    if version == 4:
        return VISIBLE.protocols(numbers)
    # Where an authentication header follows, the kernel does not look for a fragment's protocol behind it.
    return (_FRAGMENT_PROTOCOL, *among(KeyType.INET_PROTO, 1, singles(numbers)))


def _local_addresses(texts: Iterable[str]) -> dict[int, Selector]:
    networks = [ip_network(text, strict=False) for text in texts]
    ipv4 = list(collapse_addresses(network for network in networks if isinstance(network, IPv4Network)))
    ipv6 = list(collapse_addresses(network for network in networks if isinstance(network, IPv6Network)))
    return {found[0].version: _destination(found[0].version, found) for found in (ipv4, ipv6) if found}


def _destination(version: int, networks: Sequence[IPv4Network] | Sequence[IPv6Network]) -> Selector:
    width = networks[0].max_prefixlen // 8
    start = (*family(version), _DESTINATION[version])
    if len(networks) == 1 and networks[0].prefixlen < networks[0].max_prefixlen:
        network = networks[0]
        return (*start, Bitwise(network.netmask.packed, bytes(width)), Cmp(CmpOp.EQ, network.network_address.packed))
    ranges = [(int(network.network_address), int(network.broadcast_address)) for network in networks]
    return (*start, *among(_ADDRESS_TYPE[version], width, ranges))
