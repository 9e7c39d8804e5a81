# SPDX-License-Identifier: Apache-2.0
"""Cases about what is walked on the way to the transport: authentication headers, lengths of 0, VLAN tags."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import (
    ACCEPT,
    CATCH_ALL,
    CN,
    DENY_ALL,
    DENY_CN,
    DROP,
    GRE,
    UA,
    US,
    Case,
    both,
    one,
    service,
)
from tests.conformance.unreadable_cases import CUT, DENY_US
from tests.oracle.packet import DESTINATION, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, UDP
from tests.support.namespaces import ETH_P_8021AD, ETH_P_8021Q

AUTHENTICATED = [
    Case(
        "an authentication header is walked through to the ports",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443], udp: [443]}}"),
        [
            *[
                e
                for length in range(1, 15)
                for e in (
                    *both(CN, DROP, authentication=length),
                    *both(CN, ACCEPT, authentication=length, dport=80),
                    *both(CN, DROP, authentication=length, protocol=UDP),
                    *both(CN, ACCEPT, authentication=length, protocol=GRE),
                    *both(US, ACCEPT, authentication=length),
                )
            ],
            *one(CN[1], DROP, authentication=4, extensions=(HOP_BY_HOP, ROUTING, DESTINATION)),
            *one(CN[1], ACCEPT, authentication=4, extensions=(HOP_BY_HOP, ROUTING, DESTINATION), dport=80),
            *one(CN[0], DROP, authentication=4, options=bytes([1] * 40)),
            *both(CN, DROP, authentication=4, fragment=(0, True)),
            *both(CN, ACCEPT, authentication=4, fragment=(0, True), dport=80),
        ],
    ),
    Case(
        "a service for authentication headers and that of the transport behind one both judge",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443]}}") + service(DENY_US, "{protocols: [51]}", "ipsec"),
        [
            *both(CN, DROP, authentication=4),
            *both(US, DROP, authentication=4),
            *both(UA, ACCEPT, authentication=4),
            *both(CN, ACCEPT, authentication=4, dport=80),
            *both(US, DROP, authentication=4, dport=80),
            *both(US, DROP, authentication=4, protocol=GRE),
            *both(CN, ACCEPT, authentication=4, protocol=GRE),
            *both(CN, DROP, authentication=4, cut=2),
            *both(US, DROP, authentication=4, cut=2),
            *both(US, ACCEPT),
            *one(US[0], DROP, authentication=4, fragment=(64, False)),
            *one(CN[0], ACCEPT, authentication=4, fragment=(64, False)),
        ],
    ),
    Case(
        "authentication headers and a whole protocol behind them",
        "services:\n"
        + service(DENY_CN, "{protocols: [icmp, 47]}")
        + service(DENY_ALL + "; mode: monitor", "{protocols: [51]}", "trial"),
        [
            *both(CN, DROP, authentication=4, protocol=GRE),
            *both(US, ACCEPT, authentication=4, protocol=GRE),
            *one(CN[0], DROP, authentication=4, protocol=ICMP, icmp_type=8),
            *one(CN[1], DROP, authentication=4, protocol=ICMPV6, icmp_type=128),
            *both(CN, ACCEPT, authentication=4),
            *both(CN, ACCEPT, authentication=4, protocol=UDP),
        ],
    ),
    Case(
        "a catch-all takes authentication headers unless an enforced service with a match does",
        "services:\n" + service(DENY_CN) + service(DENY_US, CATCH_ALL, "rest"),
        [
            *both(CN, DROP, authentication=4),
            *both(US, ACCEPT, authentication=4),
            *both(US, DROP, authentication=4, dport=80),
            *both(CN, ACCEPT, authentication=4, dport=80),
            *both(US, DROP, authentication=4, protocol=GRE),
            # This service has no ports, so it judges beside the other one.
            *both(US, DROP, authentication=4, cut=2),
            *both(CN, DROP, authentication=4, cut=2),
        ],
    ),
    Case(
        "local addresses and authentication headers",
        "services:\n"
        + service(DENY_CN, '{ports: {tcp: [443]}, addresses: [203.0.113.0/28, "2001:db8::/64"]}', "web")
        + service(DENY_US, '{protocols: [51], addresses: [203.0.113.16/28, "2001:db8:1::/64"]}', "ipsec"),
        [
            *both(CN, DROP, authentication=4),
            *both(US, ACCEPT, authentication=4),
            *one(US[0], DROP, authentication=4, dest="203.0.113.16"),
            *one(US[1], DROP, authentication=4, dest="2001:db8:1::1"),
            *one(CN[0], ACCEPT, authentication=4, dest="203.0.113.16"),
            *one(CN[1], ACCEPT, authentication=4, dest="2001:db8:1::1"),
        ],
    ),
    Case(
        "never-drop ports and control traffic behind an authentication header",
        "services:\n" + service(DENY_ALL, CATCH_ALL),
        [
            *both(CN, ACCEPT, authentication=4, dport=22),
            *both(CN, DROP, authentication=4),
            *one(CN[0], ACCEPT, authentication=4, protocol=ICMP, icmp_type=3),
            *one(CN[0], DROP, authentication=4, protocol=ICMP, icmp_type=8),
            *one(CN[1], ACCEPT, authentication=4, protocol=ICMPV6, icmp_type=2),
            *one(CN[1], ACCEPT, authentication=4, protocol=ICMPV6, icmp_type=135, hop_limit=255),
            *one(CN[1], DROP, authentication=4, protocol=ICMPV6, icmp_type=135, hop_limit=64),
            *one(CN[0], ACCEPT, authentication=4, protocol=UDP, sport=67, dport=68),
            *one(CN[1], ACCEPT, authentication=4, protocol=UDP, sport=547, dport=546),
            *both(CN, DROP, authentication=0, dport=22),
        ],
    ),
    Case(
        "never-drop ports of a service, behind an authentication header",
        "never_drop: {ports: {tcp: [22], udp: [53]}}\nservices:\n"
        + service(DENY_ALL, "{ports: {tcp: [0-1023], udp: [0-1023]}}"),
        [
            *both(CN, ACCEPT, authentication=4, dport=22),
            *both(CN, DROP, authentication=4, dport=23),
            *both(CN, ACCEPT, authentication=4, protocol=UDP, dport=53),
            *both(CN, DROP, authentication=4, protocol=UDP, dport=22),
        ],
    ),
    Case(
        "established: keep behind an authentication header",
        "services:\n" + service(DENY_CN + "; established: keep"),
        [
            *both(CN, ACCEPT, authentication=4, flags="A"),
            *both(CN, DROP, authentication=4, flags="S"),
            *both(CN, ACCEPT, authentication=1, flags="SA"),
            *both(CN, DROP, authentication=4, flags="A", fragment=(0, True), cut=8),
            *both(CN, ACCEPT, authentication=4, flags="A", fragment=(0, True), cut=16),
        ],
    ),
    Case(
        "a never-drop prefix and authentication headers",
        'never_drop: {prefixes: [1.1.1.0/24, "2400::/64"]}\nservices:\n'
        + service(DENY_ALL)
        + service(DENY_ALL, "{protocols: [51]}", "ipsec"),
        [*both(CN, ACCEPT, authentication=4), *both(US, DROP, authentication=4)],
    ),
]

WITHOUT_LENGTH: list[dict[str, Any]] = [
    {"no_length": True, "extensions": (HOP_BY_HOP,)},
    {"no_length": True, "extensions": (HOP_BY_HOP, DESTINATION, ROUTING)},
    {"no_length": True, "extensions": (HOP_BY_HOP,), "authentication": 4},
]

LENGTHS = [
    Case(
        "an IPv6 payload of length 0 behind hop-by-hop options ends where the frame does",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443], udp: [443]}}"),
        [
            e
            for shape in WITHOUT_LENGTH
            for e in (
                *one(CN[1], DROP, **shape),
                *one(CN[1], ACCEPT, dport=80, **shape),
                *one(CN[1], DROP, protocol=UDP, payload=bytes(100), **shape),
                *one(US[1], ACCEPT, **shape),
            )
        ],
    ),
    Case(
        "length 0 in front of what else is read",
        "services:\n" + service(DENY_CN + "; established: keep", CATCH_ALL),
        [
            *one(CN[1], ACCEPT, dport=22, **WITHOUT_LENGTH[0]),
            *one(CN[1], ACCEPT, flags="A", **WITHOUT_LENGTH[0]),
            *one(CN[1], DROP, protocol=GRE, **WITHOUT_LENGTH[0]),
            *one(CN[1], DROP, cut=2, dport=22, **WITHOUT_LENGTH[0]),
            *one(CN[1], DROP, fragment=(8, True), **WITHOUT_LENGTH[0]),
            *one(US[1], ACCEPT, **WITHOUT_LENGTH[0]),
        ],
    ),
]

PRIORITY = [tuple((kind, 0) for kind in kinds) for kinds in (
    (ETH_P_8021Q,),
    (ETH_P_8021AD,),
    (ETH_P_8021AD, ETH_P_8021Q),
    *((ETH_P_8021Q,) * count for count in range(3, 9)),
    (ETH_P_8021Q, ETH_P_8021AD) * 4,
)]  # fmt: skip

TAGS = [
    Case(
        "frames behind up to eight priority tags are packets like any other",
        "services:\n" + service(DENY_CN),
        [
            e
            for tags in PRIORITY
            for e in (
                *both(CN, DROP, tags=tags),
                *both(CN, ACCEPT, tags=tags, dport=80),
                *both(US, ACCEPT, tags=tags),
                *both(CN, DROP, tags=tags, cut=2),
            )
        ],
    ),
    Case(
        "tags in front of what cannot be read or moves the ports",
        "services:\n" + service(DENY_CN) + service(DENY_US, CATCH_ALL, "rest"),
        [
            e
            for tags in PRIORITY
            for verdict, source in ((DROP, CN), (DROP, US), (ACCEPT, UA))
            for e in (
                *one(source[1], verdict, tags=tags, **CUT[1]),
                *both(source, verdict, tags=tags, authentication=0),
                *both(source, DROP if source == CN else ACCEPT, tags=tags, authentication=4),
                *one(source[0], DROP if source == CN else ACCEPT, tags=tags, options=bytes([1] * 40)),
            )
        ],
    ),
]
