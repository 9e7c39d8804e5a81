# SPDX-License-Identifier: Apache-2.0
"""Cases about lists drawn from databases: numbers of networks, traits and their confidence."""

from __future__ import annotations

from tests.conformance.case import (
    ACCEPT,
    AS64496,
    CN,
    DROP,
    HOSTING,
    NOBODY,
    US,
    VPN_30,
    VPN_99,
    Case,
    both,
    one,
    service,
)

DRAWN = [
    Case(
        "a network dropped inside an allowed country, another allowed inside a denied one",
        "lists: {carriers: {asn: [64496, AS64497]}, ours: {asn: [64498]}}\nservices:\n"
        + service("default: deny; unknown: deny; allow: [US, 'list:ours']; deny: [CN, 'list:carriers']"),
        [
            *both(AS64496, DROP),
            *one("7.7.1.1", DROP),
            *both(HOSTING, ACCEPT),
            *both(US, ACCEPT),
            *both(CN, DROP),
            *both(NOBODY, DROP),
        ],
    ),
    Case(
        "prefixes come before a drawn list, and deny beats allow among lists",
        "lists: {one: {asn: [64496]}, all: {asn: [64496, 64498]}}\ngroups: {bad: ['list:one', RU]}\nservices:\n"
        + service(
            "default: allow; unknown: allow; allow: ['list:all', 7.2.0.0/16, '2a07:2::/32']; "
            "deny: ['group:bad', CN, 8.2.0.0/16]"
        ),
        [
            *both(AS64496, DROP),
            *one("7.2.1.1", ACCEPT),
            *one("2a07:2::1", ACCEPT),
            *both(HOSTING, ACCEPT),
            *one("8.2.1.1", DROP),
            *both(CN, DROP),
        ],
    ),
    Case(
        "traits, with and without a confidence",
        "lists: {hidden: {traits: [{vpn: 50}, hosting]}}\nservices:\n"
        + service("default: allow; unknown: allow; deny: ['list:hidden']")
        + service("default: allow; unknown: allow; deny: ['list:hidden', US]", "{ports: {tcp: [80]}}", "web"),
        [
            *both(VPN_30, ACCEPT),
            *both(VPN_99, DROP),
            *both(HOSTING, DROP),
            *one("7.7.1.1", ACCEPT),
            *one("7.7.1.1", DROP, dport=80),
            *both(VPN_99, DROP, dport=80),
            *both(VPN_30, ACCEPT, dport=80),
        ],
    ),
    Case(
        "everything but a network",
        "lists: {ours: {asn: [64496]}, hidden: {traits: [vpn, hosting]}}\nservices:\n"
        + service("default: deny; unknown: deny; allow: ['list:ours', US]; deny: ['list:hidden']"),
        [*both(AS64496, ACCEPT), *one("7.7.1.1", DROP), *both(VPN_30, DROP), *both(HOSTING, DROP), *both(US, ACCEPT)],
    ),
    Case(
        "a list drawn from databases reaches special addresses and embedded ones, as a line of prefixes does",
        "lists: {carriers: {asn: [64496]}}\nservices:\n"
        + service("default: allow; unknown: allow; deny: ['list:carriers']"),
        [
            *one("10.9.1.1", DROP),
            *one("10.8.1.1", ACCEPT),
            *one("2002:701:101::1", DROP),
            *one("2002:a09:101::1", DROP),
            *one("2002:202:202::1", ACCEPT),
            *one("64:ff9b::7.1.1.1", DROP),
            *one("64:ff9b::2.2.2.2", ACCEPT),
            *one("2001:0:4136:e378:8000:63bf:f8fe:fefe", DROP),
            *one("::ffff:7.1.1.1", DROP),
            *one("fd00:9::1", ACCEPT),
        ],
    ),
    Case(
        "corrections change the country and leave the network",
        "lists: {carriers: {asn: [64496]}}\n"
        'corrections: {7.1.0.0/16: RU, 7.2.0.0/16: CN, "2a07:2::/32": CN}\nservices:\n'
        + service("default: allow; unknown: allow; deny: [CN]; allow: ['list:carriers']")
        + service("default: allow; unknown: allow; deny: ['list:carriers']", "{ports: {tcp: [80]}}", "web"),
        [
            *one("7.2.1.1", ACCEPT),
            *one("2a07:2::1", ACCEPT),
            *one("7.1.1.1", DROP, dport=80),
            *one("7.2.1.1", DROP, dport=80),
            *both(CN, DROP),
            *both(CN, ACCEPT, dport=80),
        ],
    ),
]
