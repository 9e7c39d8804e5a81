# SPDX-License-Identifier: Apache-2.0
"""The policy as frozen data: what the operator wrote, typed and checked, with groups not yet resolved.

This module has only plain values. `document` reads YAML, `parse` and `check` find mistakes, and `ladder` turns a
service into the tables of the ladder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from geodrop.document.problems import Position

Network = IPv4Network | IPv6Network

MAX_STEPS = 8
"""Steps of a ramp: the XDP program looks at all of them."""
MAX_TESTS = 10_000
"""Most tests of a policy, all services together; they travel in the ruleset."""


class Verdict(StrEnum):
    """What happens to a packet."""

    ACCEPT = "accept"
    DROP = "drop"


class Rung(StrEnum):
    """The steps of the ladder, in order; the first that applies decides."""

    NEVER_DROP = "never-drop"
    PREFIX = "prefix"
    LIST = "list"
    SPECIAL = "special"
    SUBDIVISION = "subdivision"
    COUNTRY = "country"
    CONTINENT = "continent"
    UNKNOWN = "unknown"
    DEFAULT = "default"


class Mode(StrEnum):
    """Whether a service drops, or only counts what it would drop."""

    ENFORCE = "enforce"
    MONITOR = "monitor"


class Established(StrEnum):
    """What happens to TCP connections that are open already."""

    CUT = "cut"
    KEEP = "keep"


class Action(StrEnum):
    """What happens to a denied packet: it is dropped silently, or its sender gets a reply."""

    DROP = "drop"
    REJECT = "reject"


class LineKind(StrEnum):
    """What a line of `allow`, `deny` or a group names."""

    COUNTRY = "country"
    SUBDIVISION = "subdivision"
    CONTINENT = "continent"
    GROUP = "group"
    LIST = "list"
    PREFIX = "prefix"
    TERRITORY = "territory"
    ATLAS = "atlas"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of `allow`, `deny` or a group.

    `text` is as written. `name` is the bare name: CN, UA-43, AS (continent), the name of a group, a list, a
    territory or a group of the atlas, or the canonical prefix (`network` holds it typed, a single address being its /32
    or /128).
    """

    kind: LineKind
    text: str
    name: str
    place: Position
    network: Network | None = None


class TraitName(StrEnum):
    """What a database can say of an address besides its place and its network."""

    VPN = "vpn"
    PROXY = "proxy"
    TOR_EXIT = "tor_exit"
    HOSTING = "hosting"
    RESIDENTIAL_PROXY = "residential_proxy"
    RELAY = "relay"
    ANYCAST = "anycast"
    SATELLITE = "satellite"


@dataclass(frozen=True, slots=True)
class WantedTrait:
    """An entry of `traits`: a trait, and the least confidence, 1 to 99 percent; 0: whatever the confidence, or none."""

    name: TraitName
    confidence: int
    place: Position

    def __str__(self) -> str:
        return f"{self.name} {self.confidence}" if self.confidence else self.name


@dataclass(frozen=True, slots=True)
class AddressList:
    """A list of addresses: prefixes written in the policy or in a file (`file` is its name, else None), or drawn from
    databases by the numbers of networks (`asns`) or by `traits`.
    """

    name: str
    prefixes: tuple[Network, ...]
    file: str | None
    place: Position
    asns: tuple[int, ...] = ()
    traits: tuple[WantedTrait, ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether the databases decide which addresses are in the list."""
        return bool(self.asns or self.traits)


@dataclass(frozen=True, slots=True)
class Ports:
    """Inclusive port ranges of each protocol, sorted and merged."""

    tcp: tuple[tuple[int, int], ...] = ()
    udp: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tcp or self.udp)


@dataclass(frozen=True, slots=True)
class Match:
    """Which packets a service takes.

    `protocols` are IP protocol numbers taken whole (icmp is 1 and 58). `addresses` are local addresses, as on the
    wire; empty means every address. Ports and protocols both empty: every protocol. All three empty: a catch-all, which
    takes every packet that no service with `mode: enforce` and a match takes.
    """

    ports: Ports
    protocols: tuple[int, ...] = ()
    addresses: tuple[Network, ...] = ()

    @property
    def catch_all(self) -> bool:
        """Whether the match has no limit at all."""
        return not (self.ports or self.protocols or self.addresses)


class Aim(StrEnum):
    """What a test of the policy expects of addresses: a verdict of the ladder, or a region."""

    ACCEPT = "accept"
    DROP = "drop"
    REGION = "region"


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """A test in the policy: what the ladder of a service, or the databases, must say of every address of a network.

    `text` is the network, an address without a length. `region` is set for Aim.REGION: a country, a subdivision,
    continent:EU, or "unknown".
    """

    aim: Aim
    text: str
    network: Network
    place: Position
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service: which packets it takes, and its verdict by region, list and prefix.

    `ramp` has moments in seconds since the epoch, each with a share, in hundredths of a percent.

    `default_at` and `unknown_at` are the numbers of the lines with these keys; 0 if the key is missing.
    """

    name: str
    place: Position
    match: Match
    default: Verdict
    unknown: Verdict
    allow: tuple[Line, ...] = ()
    deny: tuple[Line, ...] = ()
    mode: Mode = Mode.ENFORCE
    starts: datetime | None = None
    ramp: tuple[tuple[int, int], ...] = ()
    established: Established = Established.CUT
    action: Action = Action.DROP
    expect: tuple[PolicyTest, ...] = ()
    default_at: int = field(default=0, compare=False)
    unknown_at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class NeverDrop:
    """What is accepted before any service is asked; `at` has the line numbers of the prefixes."""

    prefixes: tuple[Network, ...]
    ports: Ports
    at: Mapping[Network, int] = field(default_factory=dict, compare=False)


BLAST_RADIUS = 0.05
"""The limit of a policy that names none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds a change back; `at` has the number of each one's line.

    `blast_radius` is the largest share, 0.0 to 1.0, of the addresses that one change may move; None for no limit. A
    database older than `database_age` is reported by `status`, and a change to it is held.
    """

    blast_radius: float | None = BLAST_RADIUS
    database_age: timedelta | None = None
    at: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy file; `corrected_at` has the line numbers of the corrections."""

    file: str
    text: str
    groups: Mapping[str, tuple[Line, ...]]
    lists: Mapping[str, AddressList]
    corrections: Mapping[Network, str]
    services: tuple[Service, ...]
    never_drop: NeverDrop
    limits: Limits
    corrected_at: Mapping[Network, int] = field(default_factory=dict, compare=False)

    def source(self, place: Position) -> str:
        """Return the line of the file that a place is in, for a message."""
        lines = self.text.splitlines()
        return lines[place.line - 1] if place.line <= len(lines) else ""
