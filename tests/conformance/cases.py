"""The conformance suite as data: a policy, packets, and what must become of each. No engine is named here.

Every verdict is written by hand from design.md. The oracle has to agree with it, and so has every engine; what the
counters must say is the oracle's sum over the same packets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.conformance.frames import DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING
from tests.databases import city, country
from tests.oracle.packet import ICMP, ICMPV6, UDP, Packet

VERSION = "version: 1\n"
ACCEPT, DROP = "accept", "drop"
GRE, AUTHENTICATION = 47, 51

WORLD: dict[str, dict[str, Any]] = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "3.0.0.0/8": city("UA"),
    "3.43.0.0/16": city("UA", "43"),
    "4.0.0.0/8": country("", continent="AS"),
    "6.0.0.0/8": country("RU"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a0a::/16": city("UA"),
    "2a0a:43::/32": city("UA", "43"),
    "2a0b::/16": country("", continent="AS"),
    "2a02::/16": country("RU"),
}

# A source of each kind in both families.
CN = ("1.1.1.1", "2400::1")
US = ("2.2.2.2", "2600::2")
UA = ("3.3.3.3", "2a0a::3")
UA_43 = ("3.43.4.5", "2a0a:43::5")
RU = ("6.6.6.6", "2a02::6")
ASIA = ("4.4.4.4", "2a0b::4")
NOBODY = ("9.9.9.9", "2c00::9")
SPECIAL = ("192.168.7.7", "fd00::7")


@dataclass(frozen=True)
class Expectation:
    """A packet and what must become of it.

    `via` is the interface it arrives on: eth0 is judged, eth1 is not. `number` is for cases in which the identification
    or the flow label, which carry it, matter.
    """

    packet: Packet
    verdict: str
    via: str = "eth0"
    number: int | None = None


@dataclass(frozen=True)
class Case:
    """One policy, written without its version, and the packets sent to it."""

    name: str
    body: str
    expectations: list[Expectation]

    @property
    def policy(self) -> str:
        """The whole text."""
        return VERSION + self.body


def both(sources: tuple[str, str], verdict: str, **fields: Any) -> list[Expectation]:  # noqa: ANN401 - Packet's own
    """The same packet from an IPv4 and an IPv6 source; icmp_type is IPv4's, echo and its like become ICMPv6's."""
    return [Expectation(Packet(source, **fields), verdict) for source in sources]


def one(source: str, verdict: str, **fields: Any) -> list[Expectation]:  # noqa: ANN401 - Packet's own
    """A single packet."""
    return [Expectation(Packet(source, **fields), verdict)]


def service(body: str, match: str = "{ports: {tcp: [443]}}", name: str = "api") -> str:
    """A service; without `match` it takes what no other one takes."""
    return f"  {name}:\n    {f'match: {match}' if match else 'established: cut'}\n" + "".join(
        f"    {line}\n" for line in body.split("; ")
    )


DENY_CN = "default: allow; unknown: allow; deny: [CN]"
DENY_ALL = "default: deny; unknown: deny"
CATCH_ALL = ""

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
    Case(
        "priority-tagged frames are packets like any other",
        "services:\n" + service(DENY_CN),
        [*both(CN, DROP, vlan=0), *both(US, ACCEPT, vlan=0)],
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
            # Behind options and extension headers too.
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

# In a later fragment, bytes where the ports and flags of a SYN to tcp/443 would be, and of one to tcp/22.
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
            # What only looks like a never-drop port is none.
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
        "an authentication header is a protocol of its own, whatever it protects",
        "services:\n" + service(DENY_CN) + service(DENY_CN, "{protocols: [51]}", "ipsec"),
        [
            *both(CN, DROP, protocol=AUTHENTICATION, payload=bytes(16) + LIKE_443),
            *both(US, ACCEPT, protocol=AUTHENTICATION, payload=bytes(16) + LIKE_443),
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

CASES = [*RUNGS, *EMBEDDED, *SCOPE, *MODES, *CONNECTIONS, *FRAGMENTS, *HEADERS, *SECOND_RUNG]
