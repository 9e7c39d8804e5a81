# SPDX-License-Identifier: Apache-2.0
"""Random packets close to every decision: sources, ports, flags, types, fragments and headers of all kinds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.conformance.case import ASIA, CN, GRE, NOBODY, RU, SPECIAL, UA, UA_43, US, VERSION, service
from tests.oracle.packet import DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, TCP, UDP, Packet
from tests.support.namespaces import ETH_P_8021AD, ETH_P_8021Q

if TYPE_CHECKING:
    import random

SOURCES = [
    *(source for pair in (CN, US, UA, UA_43, RU, ASIA, NOBODY, SPECIAL) for source in pair),
    *("1.1.2.2", "1.1.1.0", "0.255.255.255", "2.0.0.0", "2400:ffff::", "2401::", "255.255.255.255", "224.0.0.1"),
    *("2002:101:101::1", "2002:202:202::2", "2002:a00:1::", "64:ff9b::1.1.1.1", "64:ff9b::2.2.2.2", "::ffff:1.1.1.1"),
    *("2001:0:1:2:3:4:fefe:fefe", "2001::fdfd:fdfd", "2001:db8::5", "fe80::1", "4000::1", "::1.1.1.1"),
]
DESTS = {
    4: ["203.0.113.1", "203.0.113.9", "203.0.113.77", "30.0.0.9"],
    6: ["2001:db8::1", "2001:db8:0:9::1", "ff02::1"],
}
PORTS = [22, 53, 67, 68, 80, 443, 444, 500, 546, 547, 8000, 8050, 8099, 8100, 0, 65_535]
FLAGS = ["S", "S", "S", "SA", "A", "PA", "FA", "R", "RA", "", "SF", "SFRPA"]
ICMP_TYPES = [0, 1, 2, 3, 4, 8, 11, 12, 13, 128, 129, 130, 133, 135, 136, 137, 143]
OPTIONS = [b"", b"", b"\x01\x01\x01\x00", b"\x07\x07\x04" + bytes(4) + b"\x00", b"\x01" * 40]
CHAINS = [(), (), (HOP_BY_HOP,), (DESTINATION,), (ROUTING, DESTINATION), (HOP_BY_HOP, ROUTING, DESTINATION)]
FRAGMENTS = [None, None, None, None, (0, True), (0, False), (8, True), (64, False), (65_520, False)]

AUTHENTICATION_LENGTHS = [*range(1, 15), 0, 15, 255, 4, 4, 4]
CUTS = [0, 1, 3, 4, 8, 13, 14, 16]
TAGS = [0] * 20 + [1, 2, 3, 8]

_ALL = "default: deny; unknown: deny"
_NOT_CN = "default: allow; unknown: allow; deny: [CN, 'continent:EU']; allow: [UA]"
_ONLY_US = "default: deny; unknown: allow; allow: [US, 1.1.1.0/24, '2400::/64']; deny: [UA-43]"

POLICIES = {
    "everything": "services:\n" + service(_ALL, ""),
    "everything, keeping connections": "never_drop: {}\nservices:\n" + service(_NOT_CN + "; established: keep", ""),
    "web, mail and the rest": "never_drop: {prefixes: [1.1.1.0/24, 'fe80::/10'], ports: {tcp: [22, 8050], udp: [53]}}\n"
    "services:\n"
    + service(_NOT_CN, "{ports: {tcp: [443, 8000-8099], udp: [443]}}", "web")
    + service(_ONLY_US + "; established: keep", "{ports: {tcp: [80, 500]}, protocols: [icmp, 47]}", "mail")
    + service(_ALL, "", "rest"),
    "trials over everything": "services:\n"
    + service(_NOT_CN, "{protocols: [tcp]}", "live")
    + service(_ALL + "; mode: monitor; established: keep", "{ports: {tcp: [443, 22]}}", "ports")
    + service(_ONLY_US + "; mode: monitor", "{addresses: [203.0.113.0/28, '2001:db8::/64']}", "here")
    + service(_ALL + "; mode: monitor", "", "rest")
    + service(_ONLY_US + "; starts: 2099-01-01T00:00:00Z", "", "later"),
    "by local address": "services:\n"
    + service(_ONLY_US, "{addresses: [203.0.113.1, '2001:db8::/64']}", "one")
    + service(_NOT_CN, "{ports: {udp: [0-65535]}, addresses: [203.0.113.8/29]}", "two")
    + service(
        _ALL, "{protocols: [udp, 58, 51], addresses: [203.0.113.64/26, '2001:db8:0:9::/64', 30.0.0.0/8]}", "three"
    ),
}
RAMPED = VERSION + (
    "services:\n"
    + service(_NOT_CN + "; share: 50%", "{ports: {tcp: [443, 8000-8099], udp: [443]}}", "web")
    + service(
        _ALL + "; ramp: {2020-01-01T00:00:00Z: 0.5%, 2021-01-01T00:00:00Z: 40%, 2099-01-01T00:00:00Z: 100%}", "", "rest"
    )
    + service(_ALL + "; mode: monitor; share: 1%", "{protocols: [udp]}", "trial")
    + service(_ONLY_US + "; ramp: {2098-01-01T00:00:00Z: 1%}", "{ports: {tcp: [80, 500]}}", "later")
)
"""Sources are dropped by share, by the step of a ramp that counts now, or not yet."""

POLICIES = {name: VERSION + body for name, body in POLICIES.items()}


def random_packet(chance: random.Random) -> Packet:
    """Return one packet that an IP stack accepts."""
    source = chance.choice(SOURCES)
    family = 6 if ":" in source else 4
    fragment = chance.choice(FRAGMENTS)
    chain = chance.choice(CHAINS) if family == 6 else ()
    if fragment == (0, True) and family == 6 and chance.random() < 0.5:
        chain = chance.choice([(FRAGMENT, DESTINATION), (FRAGMENT, DESTINATION, ROUTING, DESTINATION)])
    authentication = chance.choice(AUTHENTICATION_LENGTHS) if chance.random() < 0.2 else None
    if family == 6 and fragment is not None and fragment[0]:
        # Linux does not determine the protocol of a later fragment that begins with another extension header.
        authentication = None
    return Packet(
        source,
        chance.choice(DESTS[family]),
        chance.choice([TCP, TCP, TCP, UDP, UDP, ICMP if family == 4 else ICMPV6, GRE]),
        sport=chance.choice(PORTS),
        dport=chance.choice(PORTS),
        flags=chance.choice(FLAGS),
        icmp_type=chance.choice(ICMP_TYPES),
        hop_limit=chance.choice([1, 64, 254, 255, 255]),
        fragment=fragment,
        extensions=chain,
        options=chance.choice(OPTIONS) if family == 4 else b"",
        authentication=authentication,
        payload=chance.randbytes(chance.choice([16, 24, 40])),
        cut=chance.choice(CUTS) if fragment in {None, (0, True)} and chance.random() < 0.3 else None,
        kept=_kept(chance, chain) if fragment == (0, True) and chance.random() < 0.5 else None,
        no_length=chain[:1] == (HOP_BY_HOP,) and chance.random() < 0.3,
        tags=tuple((chance.choice([ETH_P_8021Q, ETH_P_8021AD]), 0) for _ in range(chance.choice(TAGS))),
    )


def _kept(chance: random.Random, chain: tuple[int, ...]) -> int:
    """Return where a first fragment ends. Linux looks into hop-by-hop options early, so these are whole."""
    return chance.randrange(16 if chain[:1] == (HOP_BY_HOP,) else 8, 80, 8)


def somewhere(chance: random.Random, packet: Packet) -> Packet:
    """Return the packet from a source of any form, in any of many /24s and /56s."""
    return replace(packet, source=_anywhere(chance, packet.family))


def _anywhere(chance: random.Random, family: int) -> str:
    ipv4 = f"{chance.choice((1, 2, 6))}.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"
    if family == 4:
        return ipv4
    number = int(ip_address(ipv4))
    words = ":".join(f"{chance.randrange(1 << 16):x}" for _ in range(4))
    forms = (
        f"{chance.choice(('2400', '2600', '2a02'))}:{words}::1",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
        f"2001::{number >> 16 ^ 0xFFFF:x}:{number & 0xFFFF ^ 0xFFFF:x}",
        f"64:ff9b::{ipv4}",
        f"::ffff:{ipv4}",
    )
    return chance.choice(forms)
