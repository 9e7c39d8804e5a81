# SPDX-License-Identifier: Apache-2.0
"""Cases about services: which packets they take, on which interfaces, and when they drop."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import ACCEPT, CATCH_ALL, CN, DENY_CN, DROP, GRE, SPECIAL, UA, US, Case, both, one, service
from tests.oracle.packet import ICMP, ICMPV6, UDP

SCOPE = [
    Case(
        "ports and port ranges of both protocols",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443, 8000-8099], udp: [443]}}"),
        [
            *both(CN, DROP, dport=443),
            *both(CN, DROP, dport=8000),
            *both(CN, DROP, dport=8099),
            *both(CN, ACCEPT, dport=8100),
            *both(CN, ACCEPT, dport=7999),
            *both(CN, DROP, protocol=UDP, dport=443),
            *both(CN, ACCEPT, protocol=UDP, dport=8000),
            *both(CN, ACCEPT, sport=443, dport=40_000),
            *both(CN, ACCEPT, protocol=GRE),
        ],
    ),
    Case(
        "whole protocols; icmp is that of both families",
        "services:\n" + service(DENY_CN, "{protocols: [icmp, 47]}"),
        [
            *one(CN[0], DROP, protocol=ICMP, icmp_type=8),
            *one(CN[1], DROP, protocol=ICMPV6, icmp_type=128),
            *one(US[0], ACCEPT, protocol=ICMP, icmp_type=8),
            *both(CN, DROP, protocol=GRE),
            *both(CN, ACCEPT),
            *both(CN, ACCEPT, protocol=UDP),
        ],
    ),
    Case(
        "ports and protocols together",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443]}, protocols: [udp, icmp]}"),
        [
            *both(CN, DROP),
            *both(CN, ACCEPT, dport=444),
            *both(CN, DROP, protocol=UDP, dport=444),
            *one(CN[1], DROP, protocol=ICMPV6, icmp_type=128),
        ],
    ),
    Case(
        "local addresses, with ports and alone",
        "services:\n"
        + service(DENY_CN, '{ports: {tcp: [443]}, addresses: [203.0.113.0/28, "2001:db8::/64"]}', "web")
        + service(DENY_CN, '{addresses: [203.0.113.16/28, "2001:db8:1::1"]}', "edge"),
        [
            *one(CN[0], DROP, dest="203.0.113.15"),
            *one(CN[0], ACCEPT, dest="203.0.113.15", dport=80),
            *one(CN[0], ACCEPT, dest="203.0.113.32"),
            *one(CN[0], DROP, dest="203.0.113.16", dport=80),
            *one(CN[0], DROP, dest="203.0.113.16", protocol=GRE),
            *one(CN[1], DROP, dest="2001:db8::ffff"),
            *one(CN[1], ACCEPT, dest="2001:db8:0:1::1"),
            *one(CN[1], DROP, dest="2001:db8:1::1", protocol=UDP, dport=53),
            *one(CN[1], ACCEPT, dest="2001:db8:1::2", protocol=UDP, dport=53),
        ],
    ),
    Case(
        "local addresses of one family leave the other alone",
        "services:\n" + service(DENY_CN, "{ports: {tcp: [443]}, addresses: [203.0.113.1]}"),
        [*one(CN[0], DROP), *one(CN[1], ACCEPT)],
    ),
    Case(
        "a catch-all takes what no other enforced service takes",
        "services:\n"
        + service(DENY_CN, name="web")
        + service("default: allow; unknown: allow; deny: [US]", CATCH_ALL, "rest"),
        [
            *both(CN, DROP),
            *both(US, ACCEPT),
            *both(CN, ACCEPT, dport=80),
            *both(US, DROP, dport=80),
            *both(US, DROP, protocol=GRE),
            *both(US, DROP, protocol=UDP, dport=443),
        ],
    ),
    Case(
        "services side by side",
        "services:\n"
        + service(DENY_CN, "{ports: {tcp: [443]}}", "web")
        + service("default: allow; unknown: allow; deny: [US]", "{ports: {tcp: [444]}}", "admin")
        + service("default: deny; unknown: deny; allow: [UA]", "{ports: {udp: [443-444]}}", "quic"),
        [
            *both(CN, DROP),
            *both(US, ACCEPT),
            *both(CN, ACCEPT, dport=444),
            *both(US, DROP, dport=444),
            *both(CN, DROP, protocol=UDP),
            *both(UA, ACCEPT, protocol=UDP, dport=444),
            *both(UA, ACCEPT, dport=445),
        ],
    ),
    Case(
        "only the interfaces that are named",
        "services:\n" + service(DENY_CN),
        [
            *both(CN, DROP),
            *[replace(expectation, via="eth1") for expectation in both(CN, ACCEPT)],
        ],
    ),
    Case(
        "packets for other hosts, forwarded",
        "services:\n" + service(DENY_CN),
        [
            *one(CN[0], DROP, dest="30.0.0.9"),
            *one(US[0], ACCEPT, dest="30.0.0.9"),
            *one(CN[1], DROP, dest="2600:30::9"),
            *one(US[1], ACCEPT, dest="2600:30::9"),
        ],
    ),
]

MODES = [
    Case(
        "monitor counts and drops nothing",
        "services:\n" + service(DENY_CN + "; mode: monitor"),
        [*both(CN, ACCEPT), *both(US, ACCEPT)],
    ),
    Case(
        "a trial beside the policy in force",
        "services:\n"
        + service(DENY_CN, name="live")
        + service("default: deny; unknown: deny; allow: [CN]; mode: monitor", name="trial")
        + service("default: deny; unknown: deny; mode: monitor", "{ports: {tcp: [443, 80]}}", "other"),
        [*both(CN, DROP), *both(US, ACCEPT), *both(US, ACCEPT, dport=80), *both(SPECIAL, ACCEPT)],
    ),
    Case(
        "a catch-all on trial sees what enforced services with a match leave, not what monitors take",
        "services:\n"
        + service(DENY_CN, name="live")
        + service("default: deny; unknown: deny; mode: monitor", "{ports: {tcp: [80]}}", "trial")
        + service("default: deny; unknown: deny; mode: monitor", CATCH_ALL, "rest"),
        [*both(CN, DROP), *both(US, ACCEPT), *both(US, ACCEPT, dport=80), *both(US, ACCEPT, protocol=GRE)],
    ),
    Case(
        "two catch-alls, one on trial",
        "services:\n"
        + service("default: deny; unknown: deny; allow: [CN]; mode: monitor", CATCH_ALL, "trial")
        + service(DENY_CN, CATCH_ALL, "live"),
        [*both(CN, DROP), *both(US, ACCEPT), *both(US, ACCEPT, dport=22), *both(CN, ACCEPT, dport=22)],
    ),
    Case(
        "in force since a date that has passed",
        "services:\n" + service(DENY_CN + "; starts: 2024-07-09T00:00:00Z"),
        [*both(CN, DROP), *both(US, ACCEPT)],
    ),
    Case(
        "until its date a policy only counts",
        "services:\n" + service(DENY_CN + "; starts: 2099-07-09T00:00:00+02:00"),
        [*both(CN, ACCEPT), *both(US, ACCEPT)],
    ),
    Case(
        "monitor stays monitor after the date",
        "services:\n" + service(DENY_CN + "; starts: 2024-07-09T00:00:00Z; mode: monitor"),
        [*both(CN, ACCEPT)],
    ),
]

REJECT = [
    Case(
        "reject lets nothing through either, and counts it once",
        "services:\n" + service(DENY_CN + "; action: reject", "{ports: {tcp: [443], udp: [443]}}"),
        [
            *both(CN, DROP),
            *both(CN, DROP, flags="A"),
            *both(CN, DROP, flags="R"),
            *both(CN, DROP, protocol=UDP),
            *both(CN, DROP, fragment=(0, True)),
            *both(US, ACCEPT),
            *one(CN[0], DROP, dest="30.0.0.9"),
            *one("2002:101:101::1", DROP),
        ],
    ),
    Case(
        "reject where every fragment is judged",
        "services:\n" + service(DENY_CN + "; action: reject", "{}"),
        [
            *both(CN, DROP, fragment=(64, True)),
            *both(CN, DROP, protocol=GRE),
            *one(CN[0], DROP, protocol=ICMP, icmp_type=8),
            *one(CN[0], ACCEPT, protocol=ICMP, icmp_type=3),
            *both(CN, ACCEPT, dport=22),
        ],
    ),
    Case(
        "reject in monitor, beside a service that drops",
        "services:\n"
        + service(DENY_CN + "; action: reject; mode: monitor", "{ports: {tcp: [443, 444]}}", "trial")
        + service(DENY_CN),
        [*both(CN, DROP), *both(CN, ACCEPT, dport=444), *both(US, ACCEPT)],
    ),
]
"""Cases for the engines that can reject."""
