# SPDX-License-Identifier: Apache-2.0
"""Cases about addresses: every rung of the ladder, and IPv4 embedded in IPv6."""

from __future__ import annotations

from tests.conformance.case import (
    ACCEPT,
    ASIA,
    CATCH_ALL,
    CN,
    DENY_ALL,
    DENY_CN,
    DROP,
    NOBODY,
    RU,
    SPECIAL,
    UA,
    UA_43,
    US,
    Case,
    both,
    one,
    service,
)
from tests.oracle.packet import UDP

RUNGS = [
    Case(
        "deny list",
        "services:\n" + service("default: allow; unknown: allow; deny: [CN, RU]"),
        [*both(CN, DROP), *both(RU, DROP), *both(US, ACCEPT), *both(NOBODY, ACCEPT), *both(SPECIAL, ACCEPT)],
    ),
    Case(
        "allow list",
        "groups: {ours: [US, group:more], more: [UA]}\nservices:\n"
        + service("default: deny; unknown: deny; allow: [group:ours]; deny: [UA-43]"),
        [
            *both(US, ACCEPT),
            *both(UA, ACCEPT),
            *both(UA_43, DROP),
            *both(CN, DROP),
            *both(NOBODY, DROP),
            *both(ASIA, DROP),
            *both(SPECIAL, ACCEPT),
        ],
    ),
    Case(
        "a subdivision let through inside a denied country",
        "services:\n" + service("default: allow; unknown: deny; allow: [UA-43]; deny: [UA]"),
        [*both(UA, DROP), *both(UA_43, ACCEPT), *both(US, ACCEPT), *both(NOBODY, DROP)],
    ),
    Case(
        "continents, and records that know only a continent",
        "services:\n" + service("default: allow; unknown: allow; allow: [CN]; deny: ['continent:AS', 'continent:EU']"),
        [*both(CN, ACCEPT), *both(ASIA, DROP), *both(RU, DROP), *both(UA_43, DROP), *both(US, ACCEPT)],
    ),
    Case(
        "deny beats allow on one rung",
        "groups: {all: [CN, US]}\nservices:\n"
        + service("default: deny; unknown: deny; allow: [group:all]; deny: [CN]"),
        [*both(CN, DROP), *both(US, ACCEPT)],
    ),
    Case(
        "prefixes and lists: the longest wins, deny on a tie",
        """
lists:
  partners: {prefixes: [1.1.0.0/16, "2400:1::/32"]}
  scanners: {prefixes: [2.2.2.0/31, 2.2.2.2, 1.1.2.0/24, "2600:2::/127", "2600:2::2"]}
services:
"""
        + service(
            "default: allow; unknown: allow; "
            "allow: ['list:partners', 1.1.1.1, 1.1.2.0/24, '2400:1:1::1']; "
            "deny: [CN, 1.1.1.0/24, 'list:scanners', '2400:1:1::/48']"
        ),
        [
            *one("1.1.3.3", ACCEPT),
            *one("1.1.1.2", DROP),
            *one("1.1.1.1", ACCEPT),
            *one("1.1.2.2", DROP),
            *one("1.2.1.1", DROP),
            *one("2.2.2.2", DROP),
            *one("2.2.2.3", ACCEPT),
            *one("2400:1::1", ACCEPT),
            *one("2400:1:1::2", DROP),
            *one("2400:1:1::1", ACCEPT),
            *one("2400:2::1", DROP),
            *one("2600:2::2", DROP),
            *one("2600:2::3", ACCEPT),
        ],
    ),
    Case(
        "a prefix line on special addresses, which regions never reach",
        "services:\n" + service("default: deny; unknown: deny; deny: [192.168.7.0/24, 'fd00::/64']"),
        [*both(SPECIAL, DROP), *one("192.168.8.8", ACCEPT), *one("fd00:1::1", ACCEPT)],
    ),
    Case(
        "corrections",
        'corrections: {1.1.1.0/24: US, 1.1.1.128/25: CN, 9.9.9.0/24: CN, 3.43.4.0/24: UA, "2400:1::/32": US}\n'
        "services:\n" + service("default: allow; unknown: allow; deny: [CN, UA-43]"),
        [
            *one("1.1.1.1", ACCEPT),
            *one("1.1.1.129", DROP),
            *one("1.1.2.1", DROP),
            *one("9.9.9.9", DROP),
            *one("3.43.4.5", ACCEPT),
            *one("3.43.5.5", DROP),
            *one("2400:1::1", ACCEPT),
            *one("2400:2::1", DROP),
        ],
    ),
    Case(
        "never-drop prefixes inside a denied country",
        'never_drop: {prefixes: [1.1.1.0/24, "2400::/64", "2002:101:200::/40"]}\nservices:\n' + service(DENY_CN),
        [
            *both(CN, ACCEPT),
            *one("1.1.2.1", DROP),
            *one("2400:1::1", DROP),
            # Only the address on the wire counts.
            *one("2002:101:101::1", DROP),
            *one("2002:101:201::1", ACCEPT),
            *one("2002:101:301::1", DROP),
        ],
    ),
    Case(
        "never-drop ports, the default among them",
        "services:\n" + service(DENY_ALL, CATCH_ALL),
        [
            *both(CN, ACCEPT, dport=22),
            *both(CN, DROP, dport=23),
            *both(CN, DROP, protocol=UDP, dport=22),
            *both(CN, DROP, sport=22, dport=40_000),
        ],
    ),
    Case(
        "no never-drop port where there is to be none",
        "never_drop: {}\nservices:\n" + service(DENY_ALL, CATCH_ALL),
        [*both(CN, DROP, dport=22), *both(SPECIAL, ACCEPT, dport=22)],
    ),
    Case(
        "never-drop ports of both protocols beside services with ports",
        "never_drop: {ports: {tcp: [8000-8010], udp: [53]}}\nservices:\n"
        + service(DENY_ALL, "{ports: {tcp: [8005-8020], udp: [50-60]}}"),
        [
            *both(CN, ACCEPT, dport=8005),
            *both(CN, ACCEPT, dport=8010),
            *both(CN, DROP, dport=8011),
            *both(CN, ACCEPT, dport=8000),
            *both(CN, ACCEPT, protocol=UDP, dport=53),
            *both(CN, DROP, protocol=UDP, dport=54),
        ],
    ),
]

EMBEDDED = [
    Case(
        "6to4, Teredo and NAT64 by the IPv4 address inside",
        "services:\n" + service(DENY_CN),
        [
            *one("2002:101:101::1", DROP),
            *one("2002:202:202::1", ACCEPT),
            *one("2001:0:4136:e378:8000:63bf:fefe:fefe", DROP),
            *one("2001:0:101:101:8000:63bf:fdfd:fdfd", ACCEPT),
            *one("64:ff9b::1.1.1.1", DROP),
            *one("64:ff9b::2.2.2.2", ACCEPT),
            *one("64:ff9b:1::1.1.1.1", ACCEPT),
            *one("::1.1.1.1", ACCEPT),
            *one("::ffff:1.1.1.1", DROP),
            *one("::ffff:2.2.2.2", ACCEPT),
        ],
    ),
    Case(
        "an embedded special address is unknown, denied",
        "services:\n" + service("default: allow; unknown: deny"),
        [
            *one("2002:c0a8:101::1", DROP),
            *one("64:ff9b::10.0.0.1", DROP),
            *one("2001::3f57:fffe", DROP),
            *one("2002:202:202::1", ACCEPT),
            *one("2002:909:909::1", DROP),
            *one("192.168.1.1", ACCEPT),
        ],
    ),
    Case(
        "an embedded special address is unknown, allowed",
        "services:\n" + service("default: deny; unknown: allow; allow: [US]"),
        [*one("2002:c0a8:101::1", ACCEPT), *one("2002:202:202::1", ACCEPT), *one("2002:101:101::1", DROP)],
    ),
    Case(
        "prefix lines of the IPv6 address first, then those of the IPv4 address inside",
        "services:\n"
        + service(
            "default: allow; unknown: allow; allow: ['2002:101:101::/48', 1.1.3.0/24]; "
            "deny: [CN, 2.2.2.2, '2002:202:300::/40']"
        ),
        [
            *one("2002:101:101::1", ACCEPT),
            *one("2002:101:102::1", DROP),
            *one("2002:101:303::1", ACCEPT),
            *one("2002:202:202::1", DROP),
            *one("2002:202:203::1", ACCEPT),
            *one("2002:202:303::1", DROP),
            *one("64:ff9b::2.2.2.2", DROP),
            *one("64:ff9b::1.1.3.3", ACCEPT),
        ],
    ),
]
