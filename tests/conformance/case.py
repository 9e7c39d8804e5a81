# SPDX-License-Identifier: Apache-2.0
"""What a case of the conformance suite consists of: a world, sources of each kind in it, packets and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.oracle.packet import Packet
from tests.support.databases import city, country

VERSION = "version: 1\n"
ACCEPT, DROP = "accept", "drop"
GRE, ESP, SCTP = 47, 50, 132

WORLD: dict[str, dict[str, Any]] = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "3.0.0.0/8": city("UA"),
    "3.30.0.0/16": city("UA", "30"),
    "3.40.0.0/16": city("UA", "40"),
    "3.43.0.0/16": city("UA", "43"),
    "4.0.0.0/8": country("", continent="AS"),
    "6.0.0.0/8": country("RU"),
    "6.43.0.0/16": city("RU", "CR"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a0a::/16": city("UA"),
    "2a0a:30::/32": city("UA", "30"),
    "2a0a:40::/32": city("UA", "40"),
    "2a0a:43::/32": city("UA", "43"),
    "2a0b::/16": country("", continent="AS"),
    "2a02::/16": country("RU"),
    "2a02:43::/32": city("RU", "CR"),
    # What lists are drawn from, in the schemas of IPinfo Lite, MaxMind Enterprise, Anonymous Plus and IPinfo Plus.
    "7.0.0.0/8": {**country("US"), "asn": "AS64496"},
    "7.7.0.0/16": {**country("US"), "asn": "AS64497", "is_vpn": True, "is_hosting": False},
    "8.0.0.0/8": {**country("CN"), "traits": {"autonomous_system_number": 64498, "is_hosting_provider": True}},
    "10.9.0.0/16": {"asn": "AS64496"},
    "12.0.0.0/8": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 30},
    "12.9.0.0/16": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 99},
    "2a07::/16": {**country("US"), "asn": "AS64496"},
    "2a08::/16": {**country("CN"), "traits": {"autonomous_system_number": 64498, "is_hosting_provider": True}},
    "2a0c::/16": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 30},
    "2a0c:9::/32": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 99},
    # Databases are not asked about these.
    "2002:202::/32": {"asn": "AS64496"},
    "fd00:9::/32": {"asn": "AS64496"},
}

# A source of each kind in both families.
CN = ("1.1.1.1", "2400::1")
US = ("2.2.2.2", "2600::2")
UA = ("3.3.3.3", "2a0a::3")
KYIV = ("3.30.4.5", "2a0a:30::5")
SEVASTOPOL = ("3.40.4.5", "2a0a:40::5")
RU_CR = ("6.43.4.5", "2a02:43::5")
UA_43 = ("3.43.4.5", "2a0a:43::5")
RU = ("6.6.6.6", "2a02::6")
ASIA = ("4.4.4.4", "2a0b::4")
NOBODY = ("9.9.9.9", "2c00::9")
SPECIAL = ("192.168.7.7", "fd00::7")
AS64496 = ("7.1.1.1", "2a07::1")
HOSTING = ("8.1.1.1", "2a08::1")
VPN_30 = ("12.1.1.1", "2a0c::1")
VPN_99 = ("12.9.1.1", "2a0c:9::1")


@dataclass(frozen=True)
class Expectation:
    """A packet and its expected verdict.

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
        """Return the whole text of the policy."""
        return VERSION + self.body


def both(sources: tuple[str, str], verdict: str, **fields: Any) -> list[Expectation]:  # noqa: ANN401 - Packet's own
    """Return the same packet from an IPv4 and an IPv6 source; an IPv4 `icmp_type` such as echo becomes ICMPv6's."""
    return [Expectation(Packet(source, **fields), verdict) for source in sources]


def one(source: str, verdict: str, **fields: Any) -> list[Expectation]:  # noqa: ANN401 - Packet's own
    """Return a single packet."""
    return [Expectation(Packet(source, **fields), verdict)]


def service(body: str, match: str = "{ports: {tcp: [443]}}", name: str = "api") -> str:
    """Return the text of a service; without `match` it takes what no other service takes."""
    return f"  {name}:\n    {f'match: {match}' if match else 'action: drop'}\n" + "".join(
        f"    {line}\n" for line in body.split("; ")
    )


DENY_CN = "default: allow; unknown: allow; deny: [CN]"
DENY_ALL = "default: deny; unknown: deny"
CATCH_ALL = ""
