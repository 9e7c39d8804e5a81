# SPDX-License-Identifier: Apache-2.0
"""A small world and policies for the tests of compile, without databases or YAML."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING

import numpy as np

from geodrop.document.problems import Position
from geodrop.geo.partition import longest_match
from geodrop.geo.world import NAT64, SPECIAL, RegionMap
from geodrop.policy.countries import UNKNOWN, Region
from geodrop.policy.model import (
    AddressList,
    Limits,
    Line,
    LineKind,
    Match,
    Mode,
    NeverDrop,
    Policy,
    Ports,
    Service,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = Position("policy.yaml", 1, 1)
US = Region("US", "", "NA")
UA = Region("UA", "", "EU")
CRIMEA = Region("UA", "UA-43", "EU")
KYIV = Region("UA", "UA-30", "EU")
REGIONS = (UNKNOWN, CRIMEA, KYIV, UA, US)


def region_map() -> RegionMap:
    """10/8 special, 20/8 US, 30/8 UA with UA-43 in 30.1/16 and UA-30 in 30.2/16; 2000::/16 UA, 64:ff9b::/96 NAT64."""
    number = {region: at for at, region in enumerate(REGIONS)}
    ipv4 = [
        (ip_network("10.0.0.0/8"), SPECIAL),
        (ip_network("20.0.0.0/8"), number[US]),
        (ip_network("30.0.0.0/8"), number[UA]),
        (ip_network("30.1.0.0/16"), number[CRIMEA]),
        (ip_network("30.2.0.0/16"), number[KYIV]),
    ]
    ipv6 = [(ip_network("2000::/16"), number[UA]), (ip_network("64:ff9b::/96"), NAT64)]
    return RegionMap(REGIONS, longest_match(4, ipv4, 0), longest_match(6, ipv6, 0))


def line(text: str) -> Line:
    """Return a line as `parse` would make it."""
    if ":" in text and "/" not in text:
        kind, name = text.split(":")
        return Line(LineKind(kind), text, name, PLACE)
    if "/" in text:
        return Line(LineKind.PREFIX, text, text, PLACE, ip_network(text))
    return Line(LineKind.SUBDIVISION if "-" in text else LineKind.COUNTRY, text, text, PLACE)


def service(
    name: str = "api",
    *,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    default: Verdict = Verdict.ACCEPT,
    unknown: Verdict = Verdict.ACCEPT,
    port: int = 443,
) -> Service:
    """Return a service on one TCP port."""
    return Service(
        name=name,
        place=PLACE,
        match=Match(Ports(tcp=((port, port),))),
        default=default,
        unknown=unknown,
        allow=tuple(map(line, allow)),
        deny=tuple(map(line, deny)),
        mode=Mode.ENFORCE,
    )


def policy(*services: Service, never_drop: Sequence[str] = (), **lists: Sequence[str]) -> Policy:
    """Return a policy of these services; keyword arguments are lists of prefixes."""
    return Policy(
        file="policy.yaml",
        text="",
        groups={},
        lists={
            name: AddressList(name, tuple(ip_network(prefix) for prefix in prefixes), None, PLACE)
            for name, prefixes in lists.items()
        },
        corrections={},
        services=services,
        never_drop=NeverDrop(tuple(ip_network(prefix) for prefix in never_drop), Ports()),
        limits=Limits(),
    )


def networks(starts: bytes, ends: bytes) -> list[tuple[str, int]]:
    """Return big-endian IPv4 bounds as (first address, number of addresses), as a person would write them."""
    first, end = np.frombuffer(starts, ">u4").astype(np.int64), np.frombuffer(ends, ">u4").astype(np.int64)
    end = np.where(end == 0, 1 << 32, end)
    return [(str(IPv4Network(int(a)).network_address), int(b - a)) for a, b in zip(first, end, strict=True)]
