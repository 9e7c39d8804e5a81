"""Judging packets: which services take one, rungs 1 and 2 and `established`, what is counted, and accept or drop."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.oracle.ladder import Oracle
    from tests.oracle.policy import Service

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58

parsed = functools.cache(ip_address)
"""An address from its text, which takes long: hundreds of thousands of packets have few of them."""

ICMP_ERRORS = {
    ICMP: {3, 11, 12},  # destination unreachable, time exceeded, parameter problem (RFC 792)
    ICMPV6: {1, 2, 3, 4},  # destination unreachable, too big, time exceeded, parameter problem (RFC 4443)
}
NEIGHBOUR_DISCOVERY = {133, 134, 135, 136, 137}  # RFC 4861
DHCP_PORTS = {4: {(68, 67), (67, 68)}, 6: {(546, 547), (547, 546)}}  # RFC 2131, RFC 8415

TYPE_END, PORTS_END, TCP_FLAGS_END = 1, 4, 14
"""Bytes of a transport header up to and with ICMP's type, the ports and TCP's flags; fewer do not show them."""


LOCAL = {4: "203.0.113.1", 6: "2001:db8::1"}
"""Where a packet goes that says nothing else."""


@dataclass(frozen=True)
class Packet:
    """One packet as on the wire. `fragment` is (offset in bytes, more follow).

    `extensions` are IPv6 extension headers before the transport header, by number; `options` are bytes of IPv4
    options. `payload` follows the transport header, or in a later fragment stands for all of it. `cut` leaves only so
    many bytes of transport header and payload. `vlan` is the identifier of an 802.1Q tag.
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
    payload: bytes = b""
    cut: int | None = None
    vlan: int | None = None

    def __post_init__(self) -> None:
        if not self.dest:
            object.__setattr__(self, "dest", LOCAL[self.family])

    @property
    def family(self) -> int:
        """4 or 6."""
        return parsed(self.source).version

    @property
    def later_fragment(self) -> bool:
        """Whether the transport header is in another fragment."""
        return self.fragment is not None and self.fragment[0] > 0

    @property
    def has_ports(self) -> bool:
        """Whether there are ports to read."""
        return self.protocol in {TCP, UDP} and self.shows(PORTS_END)

    def shows(self, end: int) -> bool:
        """Whether so many bytes of the transport header are there."""
        return not self.later_fragment and (self.cut is None or self.cut >= end)


@dataclass(frozen=True)
class Judgement:
    """What becomes of a packet: the verdict, and what each service that took it counts: (service, label, counter).

    `label` is None for `accepted` and `never_drop`, which are counted for each service and family only.
    """

    verdict: str
    counts: tuple[tuple[str, str | None, str], ...]


def judge(oracle: Oracle, packet: Packet) -> Judgement:
    """What becomes of a packet that arrives on a judged interface."""
    counts: list[tuple[str, str | None, str]] = []
    verdict = "accept"
    for service in takers(oracle, packet):
        counter, label = _count(oracle, service, packet)
        counts.append((service.name, label, counter))
        if counter == "dropped":
            verdict = "drop"
    return Judgement(verdict, tuple(counts))


def takers(oracle: Oracle, packet: Packet) -> list[Service]:
    """The services that take a packet. A catch-all takes it unless an enforced service with a match does."""
    matching = [service for service in oracle.policy.services if not service.catch_all and _takes(service, packet)]
    if any(service.enforce for service in matching):
        return matching
    return matching + [service for service in oracle.policy.services if service.catch_all]


def totals(judged: Iterable[tuple[Packet, Judgement, int]]) -> dict[tuple[str, str, str | None, str], tuple[int, int]]:
    """Packets and bytes by service, family, label and counter; each packet comes with its IP length."""
    sums: dict[tuple[str, str, str | None, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for packet, judgement, length in judged:
        for service, label, counter in judgement.counts:
            key = (service, f"ipv{packet.family}", label, counter)
            sums[key] = (sums[key][0] + 1, sums[key][1] + length)
    return dict(sums)


def _takes(service: Service, packet: Packet) -> bool:
    if service.addresses and not any(parsed(packet.dest) in network for network in service.addresses):
        return False
    if not service.has_ports and not service.protocols:
        return True
    if packet.protocol in service.protocols:
        return True
    ports = {TCP: service.tcp, UDP: service.udp}.get(packet.protocol, [])
    return packet.has_ports and any(packet.dport in chosen for chosen in ports)


def _count(oracle: Oracle, service: Service, packet: Packet) -> tuple[str, str | None]:
    """The counter, and the counter class where it has one."""
    never = {TCP: oracle.policy.never_tcp, UDP: oracle.policy.never_udp}.get(packet.protocol, [])
    answer = oracle.answer(packet.source, service)
    if answer.rung == "never-drop" or (packet.has_ports and any(packet.dport in chosen for chosen in never)):
        return "never_drop", None
    if _second_rung(packet) or (service.keep and _established(packet)) or not answer.would_drop:
        return "accepted", None
    return "dropped" if answer.verdict == "drop" else "would_drop", answer.label


def _second_rung(packet: Packet) -> bool:
    if not packet.shows(TYPE_END):
        return False
    if packet.protocol in ICMP_ERRORS and (packet.family == 4) == (packet.protocol == ICMP):
        discovery = packet.protocol == ICMPV6 and packet.icmp_type in NEIGHBOUR_DISCOVERY and packet.hop_limit == 255
        return discovery or packet.icmp_type in ICMP_ERRORS[packet.protocol]
    return packet.protocol == UDP and packet.has_ports and (packet.sport, packet.dport) in DHCP_PORTS[packet.family]


def _established(packet: Packet) -> bool:
    """TCP that shows its flags and is no opening; what does not show them is judged."""
    if packet.protocol != TCP or not packet.shows(TCP_FLAGS_END):
        return False
    return not ("S" in packet.flags and "A" not in packet.flags)
