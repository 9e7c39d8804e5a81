# SPDX-License-Identifier: Apache-2.0
"""Judge packets: which services take one, rungs 1 and 2 and `established`, what is counted, and accept or drop.

If a part of a packet cannot be read, the packet is judged by its source, for every service it might be meant for.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.oracle.ladder import Oracle
    from tests.oracle.policy import Service

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60

EXTENSION_BYTES = {HOP_BY_HOP: 16, ROUTING: 8, FRAGMENT: 8, DESTINATION: 16}
"""Lengths of the IPv6 extension headers in the suite, in bytes."""

READABLE_AUTHENTICATION = range(1, 15)
"""Length bytes of authentication headers that are walked through: 4-byte words less two."""

parsed = functools.cache(ip_address)
"""Parse an address; cached because parsing is slow and hundreds of thousands of packets have few addresses."""

ICMP_ERRORS = {
    ICMP: {3, 11, 12},  # destination unreachable, time exceeded, parameter problem (RFC 792)
    ICMPV6: {1, 2, 3, 4},  # destination unreachable, too big, time exceeded, parameter problem (RFC 4443)
}
NEIGHBOUR_DISCOVERY = {133, 134, 135, 136, 137}  # RFC 4861
DHCP_PORTS = {4: {(68, 67), (67, 68)}, 6: {(546, 547), (547, 546)}}  # RFC 2131, RFC 8415

LONGEST = 2**16
"""No packet in the suite is longer, in bytes."""

TYPE_END, PORTS_END, TCP_FLAGS_END = 1, 4, 14
"""Bytes of a transport header up to and including ICMP's type, the ports, and TCP's flags."""


LOCAL = {4: "203.0.113.1", 6: "2001:db8::1"}
"""The destination of a packet that names none."""


@dataclass(frozen=True)
class Packet:
    """One packet as on the wire. `fragment` is (offset in bytes, more follow).

    `extensions` are IPv6 extension headers before the transport header, by number; `options` are bytes of IPv4 options.
    `authentication` puts an authentication header right before the transport header; the value is its length byte.
    `payload` follows the transport header, or replaces it: in a later fragment, or where `protocol` is that of an
    extension header. `cut` keeps only this many bytes of transport header and payload; `kept` only this many of all
    that follows the IP header, in steps of 8, as fragments are cut. `no_length` writes 0 for the length of an IPv6
    payload. `tags` are VLAN tags in front, outermost first: type and identifier.
    """

    source: str
    dest: str = ""
    protocol: int = TCP
    sport: int = 40_000
    dport: int = 443
    flags: str = "S"
    icmp_type: int = 0
    hop_limit: int = 64
    fragment: tuple[int, bool] | None = None
    extensions: tuple[int, ...] = ()
    options: bytes = b""
    authentication: int | None = None
    payload: bytes = b""
    cut: int | None = None
    kept: int | None = None
    no_length: bool = False
    tags: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.dest:
            object.__setattr__(self, "dest", LOCAL[self.family])

    @property
    def family(self) -> int:
        """Return 4 or 6."""
        return parsed(self.source).version

    @property
    def later_fragment(self) -> bool:
        """Whether the transport header is in another fragment."""
        return self.fragment is not None and self.fragment[0] > 0

    @property
    def chain(self) -> tuple[int, ...]:
        """Return the headers between the IP header and the transport header, by number."""
        chain = self.extensions
        if self.family == 6 and self.fragment is not None and FRAGMENT not in chain:
            chain = (*chain, FRAGMENT)
        return chain if self.authentication is None else (*chain, AUTHENTICATION)


@dataclass(frozen=True)
class Reading:
    """What can be read of a packet.

    `protocols` are its transport and an authentication header in front of that; None: unreadable. `shown` is the number
    of bytes present of the transport header.
    """

    protocols: frozenset[int] | None = None
    transport: int | None = None
    shown: int = 0

    @property
    def ports(self) -> bool:
        """Whether there are ports to read."""
        return self.transport in {TCP, UDP} and self.shown >= PORTS_END


UNREADABLE = Reading()


def read(packet: Packet) -> Reading:
    """Walk the headers up to the transport."""
    headers = (*packet.chain, packet.protocol)
    if packet.later_fragment:
        # For IPv6 the fragment header names the protocol of the fragments, for IPv4 the IP header does.
        of = headers[headers.index(FRAGMENT) + 1 if packet.family == 6 else 0]
        return Reading(frozenset({of}), of)
    left = LONGEST if packet.kept is None else packet.kept
    for at, (header, following) in enumerate(itertools.pairwise(headers)):
        if header == AUTHENTICATION:
            size = (packet.authentication or 0) * 4 + 8
            if (
                packet.authentication not in READABLE_AUTHENTICATION
                or following in {*EXTENSION_BYTES, AUTHENTICATION}
                or left < size
            ):
                return UNREADABLE
        elif left <= 0 or (header == FRAGMENT and at > (headers[0] == HOP_BY_HOP) and FRAGMENT not in headers[:at]):
            # Where connections are tracked, Linux reassembles a packet and loses the fragment header behind headers
            # other than hop-by-hop options: what follows is read as the first header's kind.
            return UNREADABLE
        else:
            size = EXTENSION_BYTES[header]
        left -= size
    if packet.cut is not None:
        left = min(left, packet.cut)
    protocols = {packet.protocol} if packet.authentication is None else {packet.protocol, AUTHENTICATION}
    return Reading(frozenset(protocols), packet.protocol, max(left, 0))


@dataclass(frozen=True)
class Judgement:
    """The verdict for a packet, and what each service that took it counts: (service, label, counter).

    `label` is None for `accepted`, `never_drop` and `exempted`, which are counted for each service and family only.
    """

    verdict: str
    counts: tuple[tuple[str, str | None, str], ...]


def judge(oracle: Oracle, packet: Packet) -> Judgement:
    """Judge a packet that arrives on a judged interface."""
    counts: list[tuple[str, str | None, str]] = []
    verdict = "accept"
    reading = read(packet)
    for service in takers(oracle, packet, reading):
        counter, label = _count(oracle, service, packet, reading)
        counts.append((service.name, label, counter))
        if counter == "dropped":
            verdict = "drop"
    return Judgement(verdict, tuple(counts))


def takers(oracle: Oracle, packet: Packet, reading: Reading) -> list[Service]:
    """Return the services that take a packet.

    A catch-all takes it unless an enforced service with a match does; an unreadable packet goes to every service that
    it might be meant for.
    """
    here = [service for service in oracle.policy.services if _is_local(service, packet)]
    if reading.protocols is None:
        return here
    if reading.transport in {TCP, UDP} and not reading.ports and not packet.later_fragment:
        return [service for service in here if _might_take(service, reading.protocols)]
    matching = [service for service in here if not service.catch_all and _takes(service, packet, reading)]
    if any(service.enforce for service in matching):
        return matching
    return matching + [service for service in here if service.catch_all]


def totals(judged: Iterable[tuple[Packet, Judgement, int]]) -> dict[tuple[str, str, str | None, str], tuple[int, int]]:
    """Sum packets and bytes by service, family, label and counter; each packet comes with its IP length."""
    sums: dict[tuple[str, str, str | None, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for packet, judgement, length in judged:
        for service, label, counter in judgement.counts:
            key = (service, f"ipv{packet.family}", label, counter)
            sums[key] = (sums[key][0] + 1, sums[key][1] + length)
    return dict(sums)


def _is_local(service: Service, packet: Packet) -> bool:
    return not service.addresses or any(parsed(packet.dest) in network for network in service.addresses)


def _takes(service: Service, packet: Packet, reading: Reading) -> bool:
    if _takes_whole(service, reading.protocols or frozenset()):
        return True
    ports = {TCP: service.tcp, UDP: service.udp}.get(packet.protocol, [])
    return reading.ports and any(packet.dport in chosen for chosen in ports)


def _might_take(service: Service, protocols: frozenset[int]) -> bool:
    """Whether a service takes any packet of these protocols."""
    with_ports = {TCP} if service.tcp else set()
    with_ports |= {UDP} if service.udp else set()
    return _takes_whole(service, protocols) or bool(protocols & with_ports)


def _takes_whole(service: Service, protocols: frozenset[int]) -> bool:
    return (not service.has_ports and not service.protocols) or bool(protocols & service.protocols)


def _count(oracle: Oracle, service: Service, packet: Packet, reading: Reading) -> tuple[str, str | None]:
    """Return the counter, and the counter class if it has one."""
    never = {TCP: oracle.policy.never_tcp, UDP: oracle.policy.never_udp}.get(packet.protocol, [])
    answer = oracle.answer(packet.source, service)
    if answer.rung == "never-drop" or (reading.ports and any(packet.dport in chosen for chosen in never)):
        return "never_drop", None
    if _second_rung(packet, reading) or (service.keep and _established(packet, reading)) or not answer.would_drop:
        return "accepted", None
    if any(parsed(packet.source) in network for network in oracle.exempt):
        return "exempted", None
    return "dropped" if answer.verdict == "drop" else "would_drop", answer.label


def _second_rung(packet: Packet, reading: Reading) -> bool:
    if reading.shown < TYPE_END:
        return False
    protocol = reading.transport
    if protocol in ICMP_ERRORS and (packet.family == 4) == (protocol == ICMP):
        discovery = protocol == ICMPV6 and packet.icmp_type in NEIGHBOUR_DISCOVERY and packet.hop_limit == 255
        return discovery or packet.icmp_type in ICMP_ERRORS[protocol]
    return protocol == UDP and reading.ports and (packet.sport, packet.dport) in DHCP_PORTS[packet.family]


def _established(packet: Packet, reading: Reading) -> bool:
    """Whether TCP flags show that this is not an opening; a packet whose flags are not present is judged."""
    if reading.transport != TCP or reading.shown < TCP_FLAGS_END:
        return False
    return not ("S" in packet.flags and "A" not in packet.flags)
