# SPDX-License-Identifier: Apache-2.0
"""Cases about packets: connections, fragments, headers before the ports, and rung 2."""

from __future__ import annotations

from tests.conformance.case import (
    ACCEPT,
    CATCH_ALL,
    CN,
    DENY_ALL,
    DENY_CN,
    DROP,
    US,
    Case,
    Expectation,
    both,
    one,
    service,
)
from tests.oracle.packet import DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, UDP, Packet

CONNECTIONS = [
    Case(
        "established: cut judges every segment",
        "services:\n" + service(DENY_CN + "; established: cut"),
        [
            *[e for flags in ("S", "SA", "A", "PA", "FA", "R", "") for e in both(CN, DROP, flags=flags)],
            *both(US, ACCEPT),
        ],
    ),
    Case(
        "established: keep judges openings only",
        "services:\n" + service(DENY_CN + "; established: keep", "{ports: {tcp: [443], udp: [443]}}"),
        [
            *both(CN, DROP, flags="S"),
            *both(CN, DROP, flags="SF"),
            *both(CN, ACCEPT, flags="SA"),
            *both(CN, ACCEPT, flags="A"),
            *both(CN, ACCEPT, flags="FA"),
            *both(CN, ACCEPT, flags="R"),
            *both(CN, ACCEPT, flags=""),
            *both(CN, DROP, protocol=UDP),
            *both(US, ACCEPT, flags="S"),
            # Options and extension headers come first here.
            *one(CN[0], ACCEPT, flags="A", options=bytes([1, 1, 1, 1])),
            *one(CN[0], DROP, flags="S", options=bytes([1, 1, 1, 1])),
            *one(CN[1], ACCEPT, flags="A", extensions=(DESTINATION,)),
            *one(CN[1], DROP, flags="S", extensions=(DESTINATION,)),
        ],
    ),
    Case(
        "a first fragment too small to show its flags is judged",
        "services:\n" + service(DENY_CN + "; established: keep"),
        [
            *both(CN, DROP, flags="A", fragment=(0, True), cut=8),
            *both(CN, ACCEPT, flags="A", fragment=(0, True), cut=16),
            *both(CN, DROP, flags="S", fragment=(0, True), cut=16),
            *both(US, ACCEPT, flags="S", fragment=(0, True), cut=8),
        ],
    ),
]

# Later fragments whose bytes look like the ports and flags of a SYN to tcp/443, and to tcp/22.
LIKE_443 = bytes.fromhex("9c4001bb0000000100000000500204000000000000000000")
LIKE_22 = bytes.fromhex("9c4000160000000100000000500204000000000000000000")

FRAGMENTS = [
    Case(
        "a service with ports: the first fragment decides, later ones pass",
        "services:\n" + service(DENY_CN),
        [
            *both(CN, DROP, fragment=(0, True)),
            *both(CN, DROP, fragment=(0, True), cut=8),
            *both(CN, ACCEPT, fragment=(0, True), dport=80),
            *both(CN, ACCEPT, fragment=(64, True), payload=LIKE_443),
            *both(CN, ACCEPT, fragment=(8, False), payload=LIKE_443),
            *both(US, ACCEPT, fragment=(0, True)),
        ],
    ),
    Case(
        "a service without ports judges every fragment",
        "services:\n" + service(DENY_CN, CATCH_ALL),
        [
            *both(CN, DROP, fragment=(0, True)),
            *both(CN, DROP, fragment=(64, True), payload=LIKE_443),
            # What only looks like a never-drop port does not count as one.
            *both(CN, DROP, fragment=(64, False), payload=LIKE_22),
            *both(CN, ACCEPT, fragment=(0, True), dport=22),
            *both(US, ACCEPT, fragment=(64, False)),
        ],
    ),
    Case(
        "in later fragments no other field stands in for the ports, where readers of a missing header may end up",
        "services:\n" + service(DENY_CN, CATCH_ALL, "rest") + service(DENY_CN, "{ports: {tcp: [443]}}", "web"),
        [
            Expectation(Packet(CN[1], fragment=(64, False)), DROP, number=0x1_0016),
            Expectation(Packet(CN[1], fragment=(64, True), payload=LIKE_22), DROP, number=0x1_01BB),
            Expectation(Packet(US[1], fragment=(64, True), payload=LIKE_22), ACCEPT, number=0x2_01BB),
            Expectation(Packet(CN[0], fragment=(64, False)), DROP, number=0x0016),
        ],
    ),
    Case(
        "a whole protocol in fragments",
        "services:\n" + service(DENY_CN, "{protocols: [udp]}"),
        [
            *both(CN, DROP, protocol=UDP, fragment=(0, True), payload=bytes(16)),
            *both(CN, DROP, protocol=UDP, fragment=(24, False)),
            *both(CN, ACCEPT, fragment=(24, False)),
        ],
    ),
    Case(
        "later fragments are no neighbour discovery, ICMP error or DHCP",
        "services:\n" + service(DENY_CN, CATCH_ALL),
        [
            *one(CN[1], DROP, protocol=ICMPV6, fragment=(8, False), hop_limit=255, payload=bytes([135]) + bytes(23)),
            *one(CN[0], DROP, protocol=ICMP, fragment=(8, False), payload=bytes([3]) + bytes(23)),
            *one(CN[0], DROP, protocol=UDP, fragment=(8, False), payload=bytes([0, 67, 0, 68]) + bytes(20)),
        ],
    ),
]

HEADERS = [
    Case(
        "IPv4 options move the ports",
        "services:\n" + service(DENY_CN),
        [
            *one(CN[0], DROP, options=bytes([1, 1, 1, 0])),
            *one(CN[0], DROP, options=bytes([1] * 40)),
            *one(CN[0], ACCEPT, options=bytes([1] * 40), dport=80),
            *one(US[0], ACCEPT, options=bytes([1] * 8)),
        ],
    ),
    Case(
        "IPv6 extension headers move the ports",
        "services:\n" + service(DENY_CN),
        [
            *[
                expectation
                for chain in (
                    (HOP_BY_HOP,),
                    (DESTINATION,),
                    (ROUTING,),
                    (HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION),
                    (FRAGMENT, DESTINATION),
                )
                for expectation in (
                    *one(CN[1], DROP, extensions=chain),
                    *one(CN[1], ACCEPT, extensions=chain, dport=80),
                    *one(US[1], ACCEPT, extensions=chain),
                )
            ],
            *one(CN[1], DROP, extensions=(HOP_BY_HOP,), fragment=(0, True)),
            *one(CN[1], ACCEPT, extensions=(HOP_BY_HOP,), fragment=(64, False), payload=LIKE_443),
        ],
    ),
    Case(
        "a fragment that is the whole packet",
        "services:\n" + service(DENY_CN),
        [*both(CN, DROP, fragment=(0, False)), *both(US, ACCEPT, fragment=(0, False))],
    ),
]

SECOND_RUNG = [
    Case(
        "neighbour discovery with hop limit 255 only",
        "services:\n" + service(DENY_ALL, CATCH_ALL),
        [
            *[
                expectation
                for kind in (133, 134, 135, 136, 137)
                for expectation in (
                    *one(CN[1], ACCEPT, protocol=ICMPV6, icmp_type=kind, hop_limit=255, payload=bytes(16)),
                    *one(CN[1], DROP, protocol=ICMPV6, icmp_type=kind, hop_limit=254, payload=bytes(16)),
                )
            ],
            *one(CN[1], DROP, protocol=ICMPV6, icmp_type=128, hop_limit=255),
            *one("fe80::5", ACCEPT, protocol=ICMPV6, icmp_type=135, hop_limit=64, payload=bytes(16)),
        ],
    ),
    Case(
        "ICMP errors, but no echo",
        "services:\n" + service(DENY_ALL, "{protocols: [icmp]}"),
        [
            *[e for kind in (3, 11, 12) for e in one(CN[0], ACCEPT, protocol=ICMP, icmp_type=kind)],
            *[e for kind in (0, 8, 13) for e in one(CN[0], DROP, protocol=ICMP, icmp_type=kind)],
            *[e for kind in (1, 2, 3, 4) for e in one(CN[1], ACCEPT, protocol=ICMPV6, icmp_type=kind)],
            *[e for kind in (128, 129) for e in one(CN[1], DROP, protocol=ICMPV6, icmp_type=kind)],
        ],
    ),
    Case(
        "DHCP by its port pairs",
        "services:\n" + service(DENY_ALL, CATCH_ALL),
        [
            *one(CN[0], ACCEPT, protocol=UDP, sport=67, dport=68),
            *one(CN[0], ACCEPT, protocol=UDP, sport=68, dport=67),
            *one(CN[1], ACCEPT, protocol=UDP, sport=547, dport=546),
            *one(CN[1], ACCEPT, protocol=UDP, sport=546, dport=547),
            *one(CN[0], DROP, protocol=UDP, sport=53, dport=68),
            *one(CN[0], DROP, protocol=UDP, sport=67, dport=53),
            *one(CN[1], DROP, protocol=UDP, sport=547, dport=53),
            *one(CN[0], DROP, sport=67, dport=68),
        ],
    ),
]
