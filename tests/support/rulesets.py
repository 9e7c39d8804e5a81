# SPDX-License-Identifier: Apache-2.0
"""Small rulesets for tests of the engines, made without the compiler: services and what their nftables maps hold.

    ruleset(Service("api", tcp=[(443, 443)], denied={"1.0.1.0/24": "CN", "240e::/20": "CN"}))

Zones and rows agree with the maps, so that these rulesets can be explained and exported.

A value of `denied` is a counter class, "other", or one of the other targets of ruleset.model.Target: "never-drop",
"special", followed by " else CLASS" if an address embedded in IPv6 is judged differently, or an embedding such as
"6to4". `counted` is what a second map tells apart within "other".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from geodrop.ruleset import container
from geodrop.ruleset.meta import OTHER_LABEL
from geodrop.ruleset.model import NO_CLASS, OTHER, Embedding, Meta, Row, Ruleset, ServiceSpec, Target, Zone, meta_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True)
class Service:
    """Return a service as the dataplane needs it; see ruleset.model.ServiceSpec."""

    name: str
    denied: Mapping[str, str] = field(default_factory=dict)
    mode: str = "enforce"
    starts: int | None = None
    established: str = "cut"
    tcp: Sequence[tuple[int, int]] = ()
    udp: Sequence[tuple[int, int]] = ()
    protocols: Sequence[int] = ()
    addresses: Sequence[str] = ()
    action: str = "drop"
    counted: Mapping[str, str] = field(default_factory=dict)


def ruleset(
    *services: Service,
    never_drop_tcp: Sequence[tuple[int, int]] = ((22, 22),),
    never_drop_udp: Sequence[tuple[int, int]] = (),
) -> Ruleset:
    """Pack and open a ruleset file in memory."""
    labels = {_parse(text)[1] for service in services for text in service.denied.values()}
    labels |= {label for service in services for label in service.counted.values()}
    # Rows have no `other`: an address that no service tells apart still has a region.
    classes = tuple(sorted({"unknown" if label == OTHER_LABEL else label for label in labels - {""}}))
    zones, rows, sections = _zones(services, classes)
    specs = []
    for service in services:
        targets = tuple(dict.fromkeys(_target(text, classes) for text in service.denied.values()))
        for family in (4, 6):
            intervals = sorted(
                (ip_network(prefix), targets.index(_target(text, classes)))
                for prefix, text in service.denied.items()
                if ip_network(prefix).version == family
            )
            sections |= columns(f"nft/{service.name}/ipv{family}", intervals)
            if service.counted:
                told = sorted(
                    (ip_network(prefix), sorted(set(service.counted.values())).index(label))
                    for prefix, label in service.counted.items()
                    if ip_network(prefix).version == family
                )
                sections |= columns(f"nft/{service.name}/ipv{family}/counted", told, "classes")
        counted = tuple(classes.index(label) for label in sorted(set(service.counted.values())))
        specs.append(replace(_spec(service, targets), counted=counted))
    meta = Meta(
        compiler="tests",
        policy="",
        inputs=(),
        services=tuple(specs),
        never_drop_tcp=tuple(never_drop_tcp),
        never_drop_udp=tuple(never_drop_udp),
        classes=classes,
        zones=zones,
        rows=rows,
    )
    return Ruleset.unpack(container.pack(meta_json(meta), sections), "test")


def _zones(
    services: Sequence[Service], classes: Sequence[str]
) -> tuple[tuple[Zone, ...], tuple[Row, ...], dict[str, bytes]]:
    """Make a zone for each combination of what the services say of an address, and the sections that lead to it."""
    keys: dict[tuple[str, ...], int] = {("",) * len(services): 0}
    rows = {_row("", classes): 0}
    sections = {}
    for family, order in ((4, "little"), (6, "big")):
        said = [
            (int(network.network_address), int(network.broadcast_address) + 1, number, text)
            for number, service in enumerate(services)
            for network, text in ((ip_network(prefix), text) for prefix, text in service.denied.items())
            if network.version == family
        ]
        top = 1 << (32 if family == 4 else 128)
        edges: dict[int, list[tuple[int, str]]] = {0: []}
        for start, end, number, text in sorted(said, key=lambda one: one[1]):
            edges.setdefault(end, []).insert(0, (number, ""))
            edges.setdefault(start, []).append((number, text))
        here, starts, found = [""] * len(services), b"", []
        for edge in sorted(edges.keys() - {top}):
            for number, text in sorted(edges[edge], key=lambda one: bool(one[1])):
                here[number] = text
            starts += edge.to_bytes(4 if family == 4 else 16, order)  # type: ignore[arg-type]  # one of two words
            found.append(keys.setdefault(tuple(here), len(keys)))
        sections[f"ipv{family}/starts"] = starts
        sections[f"ipv{family}/zones"] = struct.pack(f"<{len(found)}H", *found)
    for name, embedded in (("rows", False), ("rows_embedded", True)):
        numbers = [rows.setdefault(_row(text, classes, embedded=embedded), len(rows)) for key in keys for text in key]
        sections[name] = struct.pack(f"<{len(numbers)}H", *numbers)
    zones = (Zone(embedding=next((text for text in key if text in set(Embedding)), None)) for key in keys)
    return tuple(zones), tuple(rows), sections


def _row(text: str, classes: Sequence[str], *, embedded: bool = False) -> Row:
    kind, label = _parse(text)
    if kind == "embedded":
        return Row("embedded", "", "")
    if label and (kind == "drop" or embedded):
        return Row("drop", "country", label, classes.index("unknown" if label == OTHER_LABEL else label))
    return Row("accept", "default", "default: allow")


def columns(
    prefix: str, intervals: Sequence[tuple[IPv4Network | IPv6Network, int]], values: str = "targets"
) -> dict[str, bytes]:
    """Return the three sections of one map; networks in order, each with the number of its target."""
    ends = []
    for network, _ in intervals:
        width = network.max_prefixlen // 8
        ends.append(((int(network.broadcast_address) + 1) % (1 << 8 * width)).to_bytes(width, "big"))
    return {
        f"{prefix}/starts": b"".join(network.network_address.packed for network, _ in intervals),
        f"{prefix}/ends": b"".join(ends),
        f"{prefix}/{values}": struct.pack(f"<{len(intervals)}H", *(number for _, number in intervals)),
    }


def _parse(text: str) -> tuple[str, str]:
    """Return kind and counter class; either may be empty."""
    kind, _, label = text.partition(" else ")
    if kind in {"never-drop", "special"}:
        return kind, label
    return ("embedded", "") if kind in set(Embedding) else ("drop", kind)


def _target(text: str, classes: Sequence[str]) -> Target:
    kind, label = _parse(text)
    klass = OTHER if label == OTHER_LABEL else classes.index(label) if label else NO_CLASS
    return Target(kind, klass, text if kind == "embedded" else None)


def _spec(service: Service, targets: tuple[Target, ...]) -> ServiceSpec:
    return ServiceSpec(
        name=service.name,
        mode=service.mode,
        starts=service.starts,
        established=service.established,
        catch_all=not (service.tcp or service.udp or service.protocols or service.addresses),
        tcp=tuple(service.tcp),
        udp=tuple(service.udp),
        protocols=tuple(service.protocols),
        addresses=tuple(service.addresses),
        targets=targets,
        action=service.action,
    )
