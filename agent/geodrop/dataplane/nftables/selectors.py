"""The beginnings of rules: which packets, by address, protocol and port. Pure.

A selector is a tuple of expressions that goes on only for its packets. The extra checks of family and protocol are
those that nft writes itself, and lets one leave out on input.

A rule does not apply to a packet that is too short for what it reads. But it does read the data of later fragments as
if it were ports and flags: nft_payload_eval refuses since Linux 5.17 (a9e8503def0f), nft_payload_fast_eval, which loads
of 1, 2 and 4 bytes take, still does not in 6.18. So `program` tells later fragments apart wherever a header was read.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TYPE_CHECKING

from geodrop.dataplane import rung2
from geodrop.dataplane.interfaces import EVERY
from geodrop.dataplane.nftables import uapi
from geodrop.dataplane.nftables.expressions import (
    Bitwise,
    Choice,
    Cmp,
    ExtensionHeader,
    HostToNetwork,
    Meta,
    OneOf,
    Payload,
)
from geodrop.dataplane.nftables.uapi import CmpOp, KeyType, MetaKey, PayloadBase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.dataplane.nftables.expressions import Expression
    from geodrop.ruleset.model import ServiceSpec

    Selector = tuple[Expression, ...]
    Ranges = Sequence[tuple[int, int]]

SOURCE = {4: Payload(PayloadBase.NETWORK, 12, 4), 6: Payload(PayloadBase.NETWORK, 8, 16)}
"""The source address, by family."""

_DESTINATION = {4: Payload(PayloadBase.NETWORK, 16, 4), 6: Payload(PayloadBase.NETWORK, 24, 16)}
_ADDRESS_TYPE = {4: KeyType.IPV4_ADDR, 6: KeyType.IPV6_ADDR}
_NFPROTO = {4: uapi.NFPROTO_IPV4, 6: uapi.NFPROTO_IPV6}
_SOURCE_PORT, _DESTINATION_PORT = (Payload(PayloadBase.TRANSPORT, offset, 2) for offset in (0, 2))
_TCP_FLAGS = Payload(PayloadBase.TRANSPORT, 13, 1)
_ICMP_TYPE = Payload(PayloadBase.TRANSPORT, 0, 1)
_HOP_LIMIT = Payload(PayloadBase.NETWORK, 7, 1)
_FRAGMENT = 44
_FRAGMENT_OFFSET: dict[int, tuple[Expression, bytes]] = {
    4: (Payload(PayloadBase.NETWORK, 6, 2), b"\x1f\xff"),  # RFC 791
    6: (ExtensionHeader(_FRAGMENT, 2, 2), b"\xff\xf8"),  # RFC 8200, 4.5
}
_FRAGMENT_PROTOCOL = ExtensionHeader(_FRAGMENT, 0, 1)
_SYN, _ACK = 0x02, 0x10
_IFNAMSIZ = 16
_WHOLE = ((0, 0xFFFF),)


def interface(name: str) -> Selector:
    """Packets that arrive on an interface, or on any whose name begins so if it ends in `*`."""
    if name == EVERY:
        return ()
    wanted = name[:-1].encode() if name.endswith("*") else name.encode().ljust(_IFNAMSIZ, b"\0")
    return (Meta(MetaKey.IIFNAME), Cmp(CmpOp.EQ, wanted))


def interface_name(selector: Selector) -> str | None:
    """The name that `interface` was given; None if it is another selector."""
    match selector:
        case ():
            return EVERY
        case (Meta(MetaKey.IIFNAME), Cmp(CmpOp.EQ, value)):
            name = value.rstrip(b"\0").decode("utf-8", "backslashreplace")
            return name if len(value) == _IFNAMSIZ else f"{name}*"
    return None


def of_kinds(kinds: Iterable[str]) -> Selector:
    """Packets that arrive on an interface of one of these kinds, such as veth; most hardware has none."""
    padded = sorted(int.from_bytes(kind.encode().ljust(_IFNAMSIZ, b"\0"), "big") for kind in kinds)
    return (Meta(MetaKey.IIFKIND), *_among(KeyType.IFNAME, _IFNAMSIZ, _singles(padded)))


def interface_number(number: int) -> Selector:
    """Packets that arrive on the interface of this number, whatever its name."""
    return (Meta(MetaKey.IIF), Cmp(CmpOp.EQ, number.to_bytes(4, sys.byteorder)))


def number_of(selector: Selector) -> int | None:
    """The number that `interface_number` was given; None if it is another selector."""
    match selector:
        case (Meta(MetaKey.IIF), Cmp(CmpOp.EQ, value)):
            return int.from_bytes(value, sys.byteorder)
    return None


def family(version: int) -> Selector:
    """IPv4 or IPv6 packets."""
    return (Meta(MetaKey.NFPROTO), Cmp(CmpOp.EQ, bytes([_NFPROTO[version]])))


def later_fragment(version: int) -> Selector:
    """Fragments that do not hold the transport header: their offset, behind or before some flags, is not zero."""
    load, mask = _FRAGMENT_OFFSET[version]
    return (*family(version), load, Bitwise(mask, bytes(2)), Cmp(CmpOp.NEQ, bytes(2)))


def before(seconds: int) -> Selector:
    """Packets that arrive before a moment, in seconds since the epoch, by the kernel's clock."""
    # The kernel loads the time as a number of its own; cmp orders bytes.
    return (Meta(MetaKey.TIME_NS), HostToNetwork(8), Cmp(CmpOp.LT, (seconds * 10**9).to_bytes(8, "big")))


def protocols(numbers: Iterable[int]) -> Selector:
    """Packets of any of these protocols."""
    return (
        Meta(MetaKey.L4PROTO),
        *_among(KeyType.INET_PROTO, 1, [(number, number) for number in sorted(set(numbers))]),
    )


def destination_ports(numbers: Iterable[int], ranges: Ranges) -> Selector:
    """Packets of TCP, UDP or either to any of these ports, inclusive ranges."""
    return (*protocols(numbers), _DESTINATION_PORT, *_among(KeyType.INET_SERVICE, 2, ranges))


def dhcp(version: int, source: int, destination: int) -> Selector:
    """UDP packets of a family between two ports."""
    return (
        *family(version),
        *protocols([rung2.UDP]),
        _SOURCE_PORT,
        Cmp(CmpOp.EQ, source.to_bytes(2, "big")),
        _DESTINATION_PORT,
        Cmp(CmpOp.EQ, destination.to_bytes(2, "big")),
    )


def icmp_errors() -> Selector:
    """ICMP packets about packets."""
    types = _among(KeyType.ICMP_TYPE, 1, _singles(rung2.ICMP_ERRORS))
    return (*family(4), *protocols([rung2.ICMP]), _ICMP_TYPE, *types)


def icmpv6_errors() -> Selector:
    """The same of ICMPv6."""
    return (
        *family(6),
        *protocols([rung2.ICMPV6]),
        _ICMP_TYPE,
        *_among(KeyType.ICMPV6_TYPE, 1, [rung2.ICMPV6_ERRORS]),
    )


def neighbour_discovery() -> Selector:
    """Neighbour discovery that did not cross a router."""
    return (
        *family(6),
        *protocols([rung2.ICMPV6]),
        _ICMP_TYPE,
        *_among(KeyType.ICMPV6_TYPE, 1, [rung2.NEIGHBOUR_DISCOVERY]),
        _HOP_LIMIT,
        Cmp(CmpOp.EQ, bytes([rung2.LINK_LOCAL_HOP_LIMIT])),
    )


def no_opening() -> Selector:
    """TCP that shows its flags and does not open a connection (SYN without ACK does)."""
    mask = bytes([_SYN | _ACK])
    return (*protocols([rung2.TCP]), _TCP_FLAGS, Bitwise(mask, bytes(1)), Cmp(CmpOp.NEQ, bytes([_SYN])))


def taken_ranges(service: ServiceSpec, protocol: int) -> Ranges:
    """The destination ports of TCP or UDP on which a service can take packets; all of them where it does not ask."""
    if takes_whole(service, protocol):
        return _WHOLE
    return service.tcp if protocol == rung2.TCP else service.udp


def takes_whole(service: ServiceSpec, protocol: int) -> bool:
    """Whether a service takes a protocol whatever the ports."""
    return protocol in service.protocols or not (service.tcp or service.udp or service.protocols)


def intersection(one: Ranges, other: Ranges) -> list[tuple[int, int]]:
    """The ports in both."""
    pairs = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return sorted((first, last) for first, last in pairs if first <= last)


def of_service(service: ServiceSpec) -> list[Selector]:
    """What a service takes; disjoint, so that a packet is judged once. An empty selector: everything."""
    # The same ports of both protocols in one rule: the kernel checks a map anew for each rule that asks it.
    by_ranges: dict[Ranges, list[int]] = {}
    for protocol, ranges in ((rung2.TCP, service.tcp), (rung2.UDP, service.udp)):
        if ranges and protocol not in service.protocols:
            by_ranges.setdefault(ranges, []).append(protocol)
    by_port = [destination_ports(numbers, ranges) for ranges, numbers in by_ranges.items()]
    if service.protocols:
        by_port.append(protocols(service.protocols))
    by_address = _local_addresses(service.addresses)
    return [(*address, *port) for port in by_port or [()] for address in by_address.values() or [()]]


def of_service_by_family(service: ServiceSpec) -> list[tuple[int, Selector]]:
    """The same, each selector for one family, which it checks."""
    by_address = _local_addresses(service.addresses) or {version: family(version) for version in (4, 6)}
    without_addresses = of_service(replace(service, addresses=()))
    return [(version, (*start, *port)) for port in without_addresses for version, start in by_address.items()]


def of_later_fragments(service: ServiceSpec) -> list[Selector]:
    """What it takes of later fragments, which show no ports: the first fragment decided where ports are asked for."""
    by_address = _local_addresses(service.addresses)
    if service.protocols:
        starts = by_address or {version: family(version) for version in (4, 6)}
        return [(*start, *_fragment_protocols(version, service.protocols)) for version, start in starts.items()]
    if service.tcp or service.udp:
        return []
    return list(by_address.values()) or [()]


def _fragment_protocols(version: int, numbers: Iterable[int]) -> Selector:
    """Later fragments of these protocols, of one family, which has been checked."""
    if version == 4:
        return protocols(numbers)
    # The kernel gives up on the protocol of a fragment where an authentication header follows, which is one itself.
    return (_FRAGMENT_PROTOCOL, *_among(KeyType.INET_PROTO, 1, _singles(numbers)))


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
    return (*start, *_among(_ADDRESS_TYPE[version], width, ranges))


def _singles(numbers: Iterable[int]) -> Ranges:
    return [(number, number) for number in sorted(set(numbers))]


def _among(key: KeyType, width: int, ranges: Ranges) -> Selector:
    """What was loaded is one of these: a comparison if there is one range, else an anonymous set."""
    if len(ranges) > 1:
        return (OneOf(Choice(key, width, tuple(sorted(ranges)))),)
    first, last = (bound.to_bytes(width, "big") for bound in ranges[0])
    if first == last:
        return (Cmp(CmpOp.EQ, first),)
    return (Cmp(CmpOp.GTE, first), Cmp(CmpOp.LTE, last))
