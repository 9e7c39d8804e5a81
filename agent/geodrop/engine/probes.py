# SPDX-License-Identifier: Apache-2.0
"""Packets that show what the kernel would do now: for each service one from a denied and one from an accepted source.

The program or the rules in force judge them; they are never sent. The expected verdict comes from the ruleset alone.
"""

from __future__ import annotations

import random
import struct
from array import array
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

from geodrop.engine import control_traffic
from geodrop.engine.exempt import exempt_until
from geodrop.ruleset.explain import explain
from geodrop.ruleset.ramp import bucket, share_at
from geodrop.ruleset.takers import covered, takers, takes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.engine.exempt import ExemptSource
    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset, ServiceSpec

LOCAL: dict[int, Address] = {4: IPv4Address("192.0.2.1"), 6: IPv6Address("2001:db8::1")}
"""The destination of packets to a service that takes every local address."""

SOURCE_PORT = 40_000
"""A port that no protocol of rung 2 uses."""

TRIES = 1_000
"""Denied sources among which one is looked for that a ramp drops already."""

_ECHO = {control_traffic.ICMP: 8, control_traffic.ICMPV6: 128}
_SYN = 0x02


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet to a service, without a frame, and its expected verdict: accept or drop."""

    service: str
    source: Address
    packet: bytes
    expected: str


def probes(ruleset: Ruleset, now: float, exempt: Sequence[ExemptSource] = ()) -> list[Probe]:
    """Make for each service and family a packet from a denied source and one from an accepted source.

    Sources are chosen at random on each call; a service without such sources gets fewer packets. `now` is in seconds
    since the epoch. Sources in `exempt` pass.
    """
    made = []
    for number, service in enumerate(ruleset.meta.services):
        for version in (4, 6):
            local = _local(service, version)
            chosen = _port(ruleset, service, local) if local else None
            if local is None or chosen is None:
                continue
            taking = takers(ruleset.meta, *chosen, local)
            for source in _sources(ruleset, number, version, now):
                said = {one.service: one.verdict for one in explain(ruleset, source, now)}
                denied = any(said[taker.name] == "drop" for taker in taking)
                expected = "drop" if denied and exempt_until(exempt, source) is None else "accept"
                made.append(Probe(service.name, source, _packet(source, local, *chosen), expected))
    return made


def _local(service: ServiceSpec, version: int) -> Address | None:
    """Return a local address of the service; None if it serves none of that family."""
    if not service.addresses:
        return LOCAL[version]
    networks = [ip_network(text, strict=False) for text in service.addresses]
    return next((one.network_address for one in networks if one.version == version), None)


def _port(ruleset: Ruleset, service: ServiceSpec, local: Address) -> tuple[int, int] | None:
    """Return a protocol and destination port that the service takes and no never-drop line has; best one that no other
    service takes.
    """
    candidates = [one for one in _candidates(ruleset, service, local.version) if takes(service, *one, local)]
    alone = (one for one in candidates if takers(ruleset.meta, *one, local) == [service])
    taken = (one for one in candidates if service in takers(ruleset.meta, *one, local))
    return next(alone, None) or next(taken, None)


def _candidates(ruleset: Ruleset, service: ServiceSpec, version: int) -> Iterator[tuple[int, int]]:
    meta = ruleset.meta
    for protocol, ranges, never in (
        (control_traffic.TCP, service.tcp, meta.never_drop_tcp),
        (control_traffic.UDP, service.udp, meta.never_drop_udp),
    ):
        edges = {first for first, _ in ranges} | {last for _, last in ranges}
        if not ranges:
            # Next to the named ports there is one that no service names.
            others = [*never, *(pair for one in meta.services for pair in (*one.tcp, *one.udp))]
            edges = {80, *(edge for first, last in others for edge in (first - 1, last + 1))}
        for port in sorted(edges):
            if 0 < port <= 0xFFFF and not covered(never, port):
                yield protocol, port
    for protocol in service.protocols:
        if protocol not in {control_traffic.TCP, control_traffic.UDP} and protocol != (
            control_traffic.ICMPV6 if version == 4 else control_traffic.ICMP
        ):
            yield protocol, 0


def _sources(ruleset: Ruleset, service: int, version: int, now: float) -> Iterator[Address]:
    """Yield an address that the ladder drops for a service, and one that it accepts; neither never-drop nor special.

    Of a service that drops only a share, one that is dropped is looked for among TRIES.
    """
    spec = ruleset.meta.services[service]
    share = share_at(spec.ramp, now)
    meta, width = ruleset.meta, 4 if version == 4 else 16
    zones = array("H", bytes(ruleset.sections[f"ipv{version}/zones"]))
    rows = ruleset.sections["rows"].cast("H")[service :: len(meta.services)]
    plain = [n for n in set(zones) if meta.zones[n].never_drop is None and not meta.zones[n].special]
    for verdict in ("drop", "accept"):
        if wanted := [zone for zone in plain if meta.rows[rows[zone]].verdict == verdict]:
            places = [_places(zones, random.choice(wanted))]  # noqa: S311 - where to look is no secret
            if spec.ramp and verdict == "drop":
                denied = set(wanted)
                every = [place for place, zone in enumerate(zones) if zone in denied]
                places += random.sample(every, min(len(every), TRIES))
            starts = ruleset.sections[f"ipv{version}/starts"]
            found = [_address(version, bytes(starts[place * width :][:width])) for place in places]
            yield next((one for one in found if spec.ramp and bucket(spec.name, one) < share), found[0])


def _address(version: int, start: bytes) -> Address:
    return IPv4Address(int.from_bytes(start, "little")) if version == 4 else IPv6Address(start)


def _places(zones: array[int], zone: int) -> int:
    """Return a random position of a zone: the first behind a random one, or else the first of all."""
    try:
        return zones.index(zone, random.randrange(len(zones)))  # noqa: S311 - as above
    except ValueError:
        return zones.index(zone)


def _packet(source: Address, local: Address, protocol: int, port: int) -> bytes:
    """Return an IP packet; checksums are left out, since nothing on the way reads them."""
    if protocol == control_traffic.TCP:
        inner = struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1, 0, 5 << 4, _SYN, 1024, 0, 0)
    elif protocol == control_traffic.UDP:
        inner = struct.pack("!HHHH", SOURCE_PORT, port, 8, 0)
    else:
        inner = bytes([_ECHO.get(protocol, 0)]).ljust(20, b"\0")
    if isinstance(source, IPv4Address):
        head = struct.pack("!BBHHHBBH", 4 << 4 | 5, 0, 20 + len(inner), 0, 0, 64, protocol, 0)
    else:
        head = struct.pack("!IHBB", 6 << 28, len(inner), protocol, 64)
    return head + source.packed + local.packed + inner
