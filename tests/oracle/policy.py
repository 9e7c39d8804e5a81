# SPDX-License-Identifier: Apache-2.0
"""Read a policy for the oracle: text in, plain lists out. It accepts correct policies only and checks nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import TYPE_CHECKING, Any

import yaml

from tests.oracle.ramp import BUCKETS, bucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    Network = IPv4Network | IPv6Network

PROTOCOLS = {"tcp": {6}, "udp": {17}, "icmp": {1, 58}}
"""The protocol names that the test policies use; any other protocol is written as a number."""


ATLAS = {
    "territory:crimea": "UA-43 UA-40 RU-CR RU-SEV",
    "territory:sevastopol": "UA-40 RU-SEV",
    "territory:luhansk": "UA-09 RU-LUG",
    "atlas:five-eyes": "US GB CA AU NZ",
}
"""What the entries of the atlas mean that the test policies use."""


@dataclass(frozen=True)
class PrefixLine:
    """A prefix of rung 3; `label` is the class its packets are counted under."""

    network: Network
    verdict: str
    label: str


@dataclass(frozen=True)
class DrawnLine:
    """A list of rung 4: numbers of networks, and traits with the least confidence that counts."""

    verdict: str
    label: str
    asns: frozenset[int]
    traits: tuple[tuple[str, int], ...]


@dataclass
class Service:
    """One service, groups and lists expanded. Region lines are names such as CN, UA-43 and continent:AS."""

    name: str
    tcp: list[range] = field(default_factory=list)
    udp: list[range] = field(default_factory=list)
    has_ports: bool = False
    protocols: set[int] = field(default_factory=set)
    addresses: list[Network] = field(default_factory=list)
    catch_all: bool = False
    default: str = ""
    unknown: str = ""
    prefixes: list[PrefixLine] = field(default_factory=list)
    drawn: list[DrawnLine] = field(default_factory=list)
    allowed: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    enforce: bool = True
    starts: datetime | None = None
    keep: bool = False
    ramp: list[tuple[datetime, float]] | None = None

    def drops(self, now: datetime, source: str) -> bool:
        """Whether a drop of a source by this service is a real one at that time."""
        if not self.enforce or (self.starts is not None and self.starts > now):
            return False
        if self.ramp is None:
            return True
        share = [percent for moment, percent in self.ramp if moment <= now][-1:] or [0.0]
        return bucket(self.name, source) < round(share[0] * BUCKETS / 100)


@dataclass
class Policy:
    """Everything the judge needs."""

    services: list[Service]
    corrections: list[tuple[Network, str]]
    never_prefixes: list[Network]
    never_tcp: list[range]
    never_udp: list[range]


def read_policy(text: str, folder: Path | None = None) -> Policy:
    """Read a policy; `folder` is where its list files lie."""
    document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - BaseLoader makes nothing but text, lists, dicts
    never = document.get("never_drop", {"ports": {"tcp": ["22"]}}) or {}
    never_ports = never.get("ports") or {}
    return Policy(
        services=[_service(name, body, document, folder) for name, body in document["services"].items()],
        corrections=[(ip_network(prefix), country) for prefix, country in (document.get("corrections") or {}).items()],
        never_prefixes=[ip_network(prefix) for prefix in never.get("prefixes") or []],
        never_tcp=[_range(item) for item in never_ports.get("tcp") or []],
        never_udp=[_range(item) for item in never_ports.get("udp") or []],
    )


def _service(name: str, body: dict[str, Any], document: dict[str, Any], folder: Path | None) -> Service:
    match = body.get("match") or {}
    ports = match.get("ports") or {}
    service = Service(
        name=name,
        tcp=[_range(item) for item in ports.get("tcp") or []],
        udp=[_range(item) for item in ports.get("udp") or []],
        has_ports=bool(ports),
        addresses=[ip_network(item) for item in match.get("addresses") or []],
        catch_all=not match,
        default=_verdict(body["default"]),
        unknown=_verdict(body["unknown"]),
        enforce=body.get("mode", "enforce") == "enforce",
        starts=_time(body["starts"]) if body.get("starts") else None,
        keep=body.get("established", "cut") == "keep",
        ramp=_ramp(body),
    )
    for protocol in match.get("protocols") or []:
        service.protocols |= PROTOCOLS[protocol] if protocol in PROTOCOLS else {int(protocol)}
    for side, verdict, regions in (("deny", "drop", service.denied), ("allow", "accept", service.allowed)):
        for line in _opened(body.get(side) or [], document):
            body_of_list = document.get("lists", {}).get(line.removeprefix("list:"), {})
            if line.startswith("list:") and body_of_list.keys() & {"asn", "traits"}:
                service.drawn.append(_drawn(line, verdict, body_of_list))
            elif line.startswith("list:"):
                networks = list(_list_networks(document["lists"][line.removeprefix("list:")], folder))
                service.prefixes += [PrefixLine(network, verdict, line) for network in networks]
            elif re.fullmatch(r"[A-Z]{2}|[A-Z]{2}-[A-Z0-9]{1,3}|continent:[A-Z]{2}", line):
                regions.add(line)
            else:
                service.prefixes.append(PrefixLine(ip_network(line), verdict, line))
    return service


def _drawn(label: str, verdict: str, body: dict[str, Any]) -> DrawnLine:
    asns = frozenset(int(text.removeprefix("AS")) for text in body.get("asn", ()))
    traits = [item if isinstance(item, dict) else {item: "0"} for item in body.get("traits", ())]
    return DrawnLine(verdict, label, asns, tuple((name, int(least)) for item in traits for name, least in item.items()))


def _opened(lines: list[str], document: dict[str, Any]) -> Iterator[str]:
    for line in lines:
        if line.startswith("group:"):
            yield from _opened(document["groups"][line.removeprefix("group:")], document)
        elif line in ATLAS:
            yield from ATLAS[line].split()
        else:
            yield line


def _list_networks(body: dict[str, Any], folder: Path | None) -> Iterator[Network]:
    if "prefixes" in body:
        items = list(body["prefixes"])
    else:
        assert folder is not None, "a list file needs a folder"
        lines = (folder / body["file"]).read_text().splitlines()
        items = [line.partition("#")[0].strip() for line in lines]
    for item in filter(None, items):
        if "-" in item:
            first, last = (ip_address(part.strip()) for part in item.split("-"))
            yield from summarize_address_range(first, last)
        else:
            yield ip_network(item)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _ramp(body: dict[str, Any]) -> list[tuple[datetime, float]] | None:
    steps = {"1970-01-01T00:00:00Z": body["share"]} if "share" in body else body.get("ramp")
    if steps is None:
        return None
    return [(_time(moment), float(share.rstrip("%"))) for moment, share in steps.items()]


def _verdict(word: str) -> str:
    return {"allow": "accept", "deny": "drop"}[word]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
