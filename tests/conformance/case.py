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
