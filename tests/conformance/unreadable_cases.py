# SPDX-License-Identifier: Apache-2.0
"""Cases about packets of which something cannot be read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tests.conformance.case import (
    ACCEPT,
    CATCH_ALL,
    CN,
    DENY_ALL,
    DENY_CN,
    DROP,
    ESP,
    GRE,
    RU,
    SCTP,
    UA,
    US,
    Case,
    both,
    one,
    service,
)
from tests.conformance.frames import authentication_header
from tests.oracle.packet import (
    AUTHENTICATION,
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    ICMPV6,
    ROUTING,
    TCP,
    UDP,
)

if TYPE_CHECKING:
    from tests.conformance.case import Expectation

DENY_US = "default: allow; unknown: allow; deny: [US]"
DENY_RU = "default: allow; unknown: allow; deny: [RU]"
NO_NEXT_HEADER = 59

CUT: list[dict[str, Any]] = [
    {"extensions": (FRAGMENT, DESTINATION), "fragment": (0, True), "kept": 8},
    {"extensions": (FRAGMENT, DESTINATION, DESTINATION), "fragment": (0, True), "kept": 16},
    {"extensions": (FRAGMENT, DESTINATION, ROUTING), "fragment": (0, True), "kept": 24},
    {"extensions": (HOP_BY_HOP, FRAGMENT, DESTINATION), "fragment": (0, True), "kept": 24},
]
"""First fragments that end before the header that their last header names. Linux reassembles such packets."""

BEHIND: list[dict[str, Any]] = [
    {"extensions": (DESTINATION,), "fragment": (0, True)},
    {"extensions": (ROUTING,), "fragment": (0, True), "protocol": NO_NEXT_HEADER},
    {"extensions": (HOP_BY_HOP, DESTINATION), "fragment": (0, True), "protocol": GRE},
    {"extensions": (DESTINATION, FRAGMENT, DESTINATION), "fragment": (0, True)},
    {"extensions": (DESTINATION, FRAGMENT)},
]
"""Fragment headers behind headers other than hop-by-hop options.

Where Linux tracks connections, it reassembles such packets and reads what follows as the kind of their first header: a
destination option, whatever the fragment header says.
"""

NO_PROTOCOL: list[dict[str, Any]] = [
    {"authentication": 0},
    {"authentication": 15},
    {"authentication": 255},
    {"authentication": 4, "protocol": AUTHENTICATION, "payload": authentication_header(TCP, 4) + bytes(20)},
    {"authentication": 4, "protocol": DESTINATION, "payload": bytes([TCP]) + bytes(27)},
    {"authentication": 4, "protocol": ROUTING, "payload": bytes([TCP]) + bytes(27)},
    {"authentication": 4, "protocol": HOP_BY_HOP, "payload": bytes([TCP]) + bytes(27)},
    {"authentication": 4, "protocol": FRAGMENT, "payload": struct.pack("!BBHI", TCP, 0, 1, 7) + bytes(20)},
    # The same as a later fragment, but behind headers that must not be fragmented.
    {"authentication": 4, "protocol": FRAGMENT, "payload": struct.pack("!BBHI", TCP, 0, 65, 7) + bytes(20)},
    {"authentication": 4, "fragment": (0, True), "kept": 16},
    {"authentication": 4, "kept": 0},
]
"""Authentication headers behind which nothing can be read."""


def unreadable(sources: tuple[str, str], verdict: str, **fields: Any) -> list[Expectation]:  # noqa: ANN401 - Packet's own
    """Return packets of every kind whose protocol cannot be read, in both families where both have that kind."""
    ipv6 = [e for shape in (*CUT, *BEHIND) for e in one(sources[1], verdict, **{**shape, **fields})]
    return ipv6 + [e for shape in NO_PROTOCOL for e in both(sources, verdict, **{**fields, **shape})]


PROTOCOLS = [
    Case(
        "an unreadable protocol is judged by a service with ports",
        "services:\n" + service(DENY_CN),
        [*unreadable(CN, DROP), *unreadable(CN, DROP, dport=80), *unreadable(US, ACCEPT)],
    ),
    Case(
        "an unreadable protocol is judged by a service for a whole protocol",
        "services:\n" + service(DENY_CN, "{protocols: [47]}"),
        [*unreadable(CN, DROP), *unreadable(US, ACCEPT)],
    ),
    Case(
        "an unreadable protocol is judged by a catch-all",
        "services:\n" + service(DENY_CN, CATCH_ALL),
        [*unreadable(CN, DROP), *unreadable(US, ACCEPT)],
    ),
    Case(
        "an unreadable protocol is judged by every service, each as if it were its own",
        "services:\n"
        + service(DENY_CN, "{ports: {tcp: [443]}}", "web")
        + service(DENY_US, "{ports: {tcp: [444], udp: [443]}}", "admin")
        + service("default: deny; unknown: deny; mode: monitor", "{ports: {tcp: [443]}}", "trial")
        + service(DENY_RU, CATCH_ALL, "rest"),
        [*unreadable(CN, DROP), *unreadable(US, DROP), *unreadable(RU, DROP), *unreadable(UA, ACCEPT)],
    ),
    Case(
        "an unreadable protocol beside services by port, protocol, both and address",
        "services:\n"
        + service(DENY_CN, "{ports: {udp: [53]}}", "dns")
        + service(DENY_US, "{protocols: [icmp, 47]}", "tunnel")
        + service(DENY_RU, '{protocols: [tcp], addresses: [203.0.113.1, "2001:db8::1"]}', "here"),
        [*unreadable(CN, DROP), *unreadable(US, DROP), *unreadable(RU, DROP), *unreadable(UA, ACCEPT)],
    ),
    Case(
        "an unreadable protocol is not judged for services of other local addresses",
        "services:\n"
        + service(DENY_CN, '{ports: {tcp: [443]}, addresses: [203.0.113.0/28, "2001:db8::/64"]}', "web")
        + service(DENY_US, '{addresses: [203.0.113.16/28, "2001:db8:1::1"]}', "edge"),
        [
            *unreadable(CN, DROP),
            *unreadable(US, ACCEPT),
            *[
                e
                for source, verdict in ((CN, ACCEPT), (US, DROP))
                for shape in (CUT[1], {"authentication": 0})
                for e in one(source[1], verdict, dest="2001:db8:1::1", **shape)
            ],
            *one(CN[0], ACCEPT, dest="203.0.113.17", authentication=0),
            *one(US[0], DROP, dest="203.0.113.17", authentication=0),
            *one(CN[0], ACCEPT, dest="203.0.113.99", authentication=0),
            *one(CN[1], ACCEPT, dest="2001:db8:2::1", **CUT[1]),
        ],
    ),
    Case(
        "an unreadable protocol and local addresses of the other family",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443]}, addresses: [203.0.113.1]}"),
        [*one(CN[1], ACCEPT, **CUT[1]), *one(CN[0], DROP, authentication=0)],
    ),
    Case(
        "an unreadable protocol in monitor and before a date",
        "services:\n"
        + service(DENY_CN + "; mode: monitor", name="trial")
        + service(DENY_CN + "; starts: 2099-01-01T00:00:00Z", name="later")
        + service(DENY_CN + "; mode: monitor", CATCH_ALL, "rest"),
        [*unreadable(CN, ACCEPT), *unreadable(US, ACCEPT)],
    ),
    Case(
        "never-drop prefixes let through what cannot be read; never-drop ports, which it does not show, do not",
        'never_drop: {prefixes: [1.1.1.0/24, "2400::/64"], ports: {tcp: [22, 443]}}\n'
        "services:\n" + service(DENY_ALL, "{ports: {tcp: [0-65535]}}") + service(DENY_ALL, CATCH_ALL, "rest"),
        [
            *unreadable(CN, ACCEPT),
            *unreadable(US, DROP, dport=22),
            *both(US, ACCEPT, dport=22),
            *both(CN, ACCEPT, dport=80, cut=2),
            *both(US, DROP, dport=22, cut=2),
        ],
    ),
    Case(
        "never-drop prefixes and what cannot be read, for services that ask nothing else before the maps",
        'never_drop: {prefixes: [1.1.1.0/24, "2400::/64"], ports: {}}\n'
        "services:\n"
        + service(DENY_ALL, "{ports: {tcp: [443]}}", "web")
        + service(DENY_ALL + "; established: keep", "{ports: {tcp: [444]}}", "admin")
        + service(DENY_ALL + "; mode: monitor", "{ports: {udp: [443]}}", "trial"),
        [*unreadable(CN, ACCEPT), *unreadable(US, DROP), *both(CN, ACCEPT, cut=2), *both(US, DROP, cut=2)],
    ),
    Case(
        "what cannot be read is no open connection and no control traffic",
        "services:\n" + service(DENY_ALL + "; established: keep", CATCH_ALL),
        [
            *unreadable(CN, DROP, flags="A"),
            *[
                e
                for shape in CUT
                for e in (
                    *one(CN[1], DROP, protocol=ICMPV6, icmp_type=135, hop_limit=255, **shape),
                    *one(CN[1], DROP, protocol=UDP, sport=547, dport=546, **shape),
                )
            ],
            *both(CN, DROP, flags="A", cut=2),
            *one(CN[0], DROP, protocol=UDP, sport=67, dport=68, cut=2),
        ],
    ),
    Case(
        "what cannot be read, from IPv6 sources that embed IPv4",
        "services:\n" + service(DENY_CN) + service(DENY_US, CATCH_ALL, "rest"),
        [
            e
            for ipv4, verdict in (("101:101", DROP), ("202:202", DROP), ("303:303", ACCEPT))
            for source in (f"2002:{ipv4}::1", f"64:ff9b::{ipv4}")
            for shape in (*CUT, {"authentication": 0}, {"cut": 2, "fragment": (0, True)})
            for e in one(source, verdict, **shape)
        ],
    ),
    Case(
        "what cannot be read, from special sources",
        "services:\n" + service(DENY_ALL),
        [*unreadable(("192.168.7.7", "fd00::7"), ACCEPT), *one("fe80::5", ACCEPT, **CUT[0])],
    ),
    Case(
        "a readable protocol that is not the service's",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443], udp: [443]}}"),
        [
            *[e for number in (GRE, ESP, SCTP, 4, 41, NO_NEXT_HEADER, 255) for e in both(CN, ACCEPT, protocol=number)],
            *[e for number in (GRE, ESP, SCTP) for e in both(CN, ACCEPT, protocol=number, cut=0)],
            *one(CN[1], ACCEPT, protocol=ICMPV6, icmp_type=128),
            *one(CN[1], ACCEPT, protocol=ESP, extensions=(DESTINATION,)),
            *one(CN[1], ACCEPT, protocol=GRE, extensions=(FRAGMENT, DESTINATION), fragment=(0, True), kept=24),
        ],
    ),
    Case(
        "a readable protocol without ports, judged by services that name it or have no match",
        "services:\n" + service(DENY_CN, "{protocols: [50, 132]}", "ipsec") + service(DENY_CN, CATCH_ALL, "rest"),
        [*[e for number in (GRE, ESP, SCTP, 4, 41, NO_NEXT_HEADER) for e in both(CN, DROP, protocol=number, cut=0)]],
    ),
    Case(
        "as many extension headers as a frame holds",
        "services:\n" + service(DENY_CN),
        [
            *one(CN[1], DROP, extensions=(DESTINATION,) * 80),
            *one(CN[1], ACCEPT, extensions=(DESTINATION,) * 80, dport=80),
            *one(CN[1], DROP, extensions=(ROUTING,) * 170),
            *one(CN[1], ACCEPT, extensions=(ROUTING,) * 170, dport=80),
            *one(US[1], ACCEPT, extensions=(ROUTING,) * 170),
            *one(CN[1], DROP, extensions=(FRAGMENT, *(DESTINATION,) * 80), fragment=(0, True), kept=1280),
            *one(US[1], ACCEPT, extensions=(FRAGMENT, *(DESTINATION,) * 80), fragment=(0, True), kept=1280),
        ],
    ),
    Case(
        "later fragments stay as they are, also of what cannot be read",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443], udp: [0-65535]}}"),
        [
            *one(CN[1], ACCEPT, extensions=(FRAGMENT, DESTINATION, DESTINATION), fragment=(8, True)),
            *one(CN[1], ACCEPT, extensions=(HOP_BY_HOP, FRAGMENT, ROUTING), fragment=(16, False)),
            *one(CN[1], ACCEPT, extensions=(DESTINATION, ROUTING), fragment=(16, False)),
            *one(CN[0], ACCEPT, authentication=4, fragment=(64, False)),
            *one(CN[0], ACCEPT, protocol=UDP, fragment=(8, False), payload=bytes(8)),
        ],
    ),
]

PORTS = [
    Case(
        "TCP and UDP without readable ports: every service that takes any of the protocol",
        "services:\n"
        + service(DENY_CN, "{ports: {tcp: [443]}}", "web")
        + service(DENY_US, "{ports: {tcp: [444]}}", "admin")
        + service(DENY_RU, "{ports: {udp: [53]}}", "dns"),
        [
            *[
                e
                for cut in (0, 1, 2, 3)
                for e in (
                    *both(CN, DROP, cut=cut, dport=80),
                    *both(US, DROP, cut=cut, dport=80),
                    *both(RU, ACCEPT, cut=cut, dport=80),
                    *both(UA, ACCEPT, cut=cut, dport=80),
                    *both(CN, ACCEPT, protocol=UDP, cut=cut),
                    *both(RU, DROP, protocol=UDP, cut=cut),
                )
            ],
            # Four bytes are enough.
            *both(US, ACCEPT, cut=4),
            *both(CN, DROP, cut=4),
            *both(CN, ACCEPT, cut=4, dport=80),
            *both(RU, DROP, protocol=UDP, cut=4, dport=53),
        ],
    ),
    Case(
        "first fragments without readable ports",
        "services:\n" + service(DENY_CN),
        [
            *both(CN, DROP, fragment=(0, True), cut=0),
            *both(US, ACCEPT, fragment=(0, True), cut=0),
            *one(CN[1], DROP, extensions=(FRAGMENT, DESTINATION), fragment=(0, True), kept=16),
            *one(CN[1], DROP, extensions=(FRAGMENT, DESTINATION), fragment=(0, True), kept=24),
            *one(CN[1], ACCEPT, protocol=UDP, extensions=(FRAGMENT, DESTINATION), fragment=(0, True), kept=24),
            *one(CN[0], DROP, options=bytes([1] * 40), cut=2),
            *one(CN[1], DROP, extensions=(HOP_BY_HOP, ROUTING, DESTINATION), cut=0),
        ],
    ),
    Case(
        "no readable ports: whole protocols, local addresses, trials and a catch-all",
        "services:\n"
        + service(DENY_CN, '{protocols: [tcp], addresses: [203.0.113.1, "2001:db8::1"]}', "here")
        + service(DENY_US, '{addresses: [203.0.113.9, "2001:db8::9"]}', "there")
        + service(DENY_ALL + "; mode: monitor", "{ports: {tcp: [1-10], udp: [1-10]}}", "trial")
        + service(DENY_RU, CATCH_ALL, "rest"),
        [
            *both(CN, DROP, cut=2),
            *both(US, ACCEPT, cut=2),
            *both(RU, DROP, cut=2),
            *both(CN, ACCEPT, protocol=UDP, cut=2),
            *both(RU, DROP, protocol=UDP, cut=2),
            *one(US[0], DROP, dest="203.0.113.9", cut=2),
            *one(US[1], DROP, dest="2001:db8::9", protocol=UDP, cut=2),
            *one(CN[0], ACCEPT, dest="203.0.113.9", cut=2),
            *one(RU[0], DROP, dest="203.0.113.9", cut=2),
        ],
    ),
    Case(
        "no readable ports and a service that takes no TCP",
        "services:\n" + service(DENY_CN, "{protocols: [udp, icmp, 47]}"),
        [*both(CN, ACCEPT, cut=2), *both(CN, DROP, protocol=UDP, cut=2)],
    ),
]
