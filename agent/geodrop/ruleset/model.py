"""A ruleset as its readers see it: services, zones, rows, and the intervals that lead to them.

`compile` builds the parts and packs them; `load`, `explain`, `export` and the engines read them back here. No numpy:
intervals are searched in place with bisect.

Sections (little-endian unless said otherwise):

    ipv4/starts  uint32[n]   first address of each interval, ascending from 0
    ipv4/zones   uint16[n]   its zone
    ipv6/starts  byte[16n]   the same, big-endian addresses
    ipv6/zones   uint16[n]
    rows         uint16[zones * services]  zone-major; a number in meta "rows": the row for the address on the wire
    rows_embedded  the same for an IPv4 address embedded in an IPv6 one
    nft/SERVICE/FAMILY/starts, .../ends   nftables keys, 4 or 16 bytes big-endian; ends are exclusive; the end of the
                 family itself is written as all zeroes
    nft/SERVICE/FAMILY/targets  uint16[n]  a number in the service's "targets"
    xdp/limit    UTF-8, in place of the others where the address space needs more than the XDP program has: what of
    xdp/ipv4, xdp/ipv6   uint32[65536], the roots of the XDP program's tables; bpf/layout.h has these structs
    xdp/children         entry[n], both families
    xdp/lines            line[n] and node[n], both families
    xdp/digest           SHA-256 over the other four: rulesets that agree in it have the same tables
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from geodrop.errors import DataError
from geodrop.ruleset import container

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address

MAX_ZONES = 32_767
MAX_CLASSES = 1_024
NO_CLASS = -1


class Embedding(StrEnum):
    """The ways an IPv6 address can hold an IPv4 one."""

    SIXTOFOUR = "6to4"  # 2002::/16, bits 16-47 (RFC 3056)
    TEREDO = "teredo"  # 2001::/32, the client's address inverted in bits 96-127 (RFC 4380)
    NAT64 = "nat64"  # 64:ff9b::/96, bits 96-127 (RFC 6052)
    MAPPED = "mapped"  # ::ffff:0:0/96, bits 96-127 (RFC 4291)

    def extract(self, address: int) -> int:
        """The IPv4 address inside the IPv6 one, both as integers."""
        if self is Embedding.SIXTOFOUR:
            return address >> 80 & 0xFFFF_FFFF
        low = address & 0xFFFF_FFFF
        return low ^ 0xFFFF_FFFF if self is Embedding.TEREDO else low


@dataclass(frozen=True, slots=True)
class Row:
    """What a zone means for a service.

    `verdict` is "accept", "drop", or "embedded": look the embedded IPv4 address up and take its embedded row.
    `klass` is the number of the counter class. `line` is the line of the policy that decides.
    """

    verdict: str
    rung: str
    line: str
    klass: int = NO_CLASS


@dataclass(frozen=True, slots=True)
class Zone:
    """A class of addresses that the policy cannot tell apart; `region` is None where no service asks for it."""

    region: str | None = None
    special: bool = False
    embedding: str | None = None
    never_drop: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where an nftables map element leads, for one service.

    kind "drop": count under `klass` and drop. "never-drop" and "special": accept on the wire (counted as never_drop
    or accepted); embedded in IPv6 count under `klass` and drop, or accept where `klass` is NO_CLASS. "embedded": look
    the embedded address up in the IPv4 map, by `embedding`.
    """

    kind: str
    klass: int = NO_CLASS
    embedding: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service as the dataplane needs it; `starts` in seconds since the epoch, port ranges inclusive.

    `action` is "drop" or "reject".
    """

    name: str
    mode: str
    starts: int | None
    established: str
    catch_all: bool
    tcp: tuple[tuple[int, int], ...]
    udp: tuple[tuple[int, int], ...]
    protocols: tuple[int, ...]
    addresses: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    action: str = "drop"


@dataclass(frozen=True, slots=True)
class Input:
    """What a ruleset was compiled from; `kind` is policy, database or list, `name` the file's name without folders."""

    kind: str
    name: str
    sha256: str
    database_type: str | None = None
    build_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Meta:
    """The JSON part. `database_age` is how old a database may be before somebody is told, in seconds."""

    compiler: str
    policy: str
    inputs: tuple[Input, ...]
    services: tuple[ServiceSpec, ...]
    never_drop_tcp: tuple[tuple[int, int], ...]
    never_drop_udp: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    zones: tuple[Zone, ...]
    rows: tuple[Row, ...]
    database_age: int | None = None


@dataclass(frozen=True, slots=True)
class Ruleset:
    """An opened ruleset file."""

    digest: str
    meta: Meta
    sections: Mapping[str, memoryview] = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Self:
        """Map, check and open a file; raises DataError. `folder` has the base of a thin one, if it is not beside it."""
        return cls.of(container.open_file(path, folder), str(path))

    @classmethod
    def unpack(cls, data: bytes, name: str) -> Self:
        """The same from memory."""
        return cls.of(container.unpack(data, name), name)

    @classmethod
    def of(cls, opened: container.Container, name: str) -> Self:
        """Type the JSON part and check that the sections fit it and each other."""
        try:
            meta = _meta(opened.meta)
            ruleset = cls(opened.digest, meta, opened.sections)
            ruleset.check()
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name}: damaged ruleset ({error})", "compile it again") from error
        return ruleset

    def check(self) -> None:
        """Every number must point at something; raises ValueError. Cheap: lengths and maxima only."""
        zones, services = len(self.meta.zones), len(self.meta.services)
        for family, width in ((4, 4), (6, 16)):
            count = len(self.sections[f"ipv{family}/zones"]) // 2
            _expect(len(self.sections[f"ipv{family}/starts"]) == count * width and count > 0, f"ipv{family}")
            _expect(not any(self.sections[f"ipv{family}/starts"][:width]), f"ipv{family}/starts")
            _expect(_all_below(zones, self.sections[f"ipv{family}/zones"]), f"ipv{family}/zones")
        for name in ("rows", "rows_embedded"):
            _expect(len(self.sections[name]) == 2 * zones * services, name)
            _expect(_all_below(len(self.meta.rows), self.sections[name]), name)
        if self.has_xdp:
            _expect(all(f"xdp/{name}" in self.sections for name in ("ipv4", "ipv6", "children", "digest")), "xdp")
        for service in self.meta.services:
            for family, width in ((4, 4), (6, 16)):
                prefix = f"nft/{service.name}/ipv{family}"
                targets = self.sections[f"{prefix}/targets"]
                _expect(len(self.sections[f"{prefix}/starts"]) * 2 == len(targets) * width, prefix)
                _expect(len(self.sections[f"{prefix}/ends"]) * 2 == len(targets) * width, prefix)
                _expect(_all_below(len(service.targets), targets), prefix)

    @property
    def has_xdp(self) -> bool:
        """Whether it has the tables of the xdp engine."""
        return "xdp/lines" in self.sections

    @property
    def xdp_limit(self) -> str:
        """Why it has none."""
        return self.sections.get("xdp/limit", memoryview(b"compiled without")).tobytes().decode()

    def paused(self, until: int) -> Self:
        """The same ruleset, seen while it is paused: no service starts before `until`, in seconds since the epoch.

        What engines make of it ends by the kernel's clock, with nobody running.
        """
        if not until:
            return self
        services = tuple(replace(service, starts=max(service.starts or 0, until)) for service in self.meta.services)
        return replace(self, meta=replace(self.meta, services=services))

    def zone_at(self, address: IPv4Address | IPv6Address) -> int:
        """The zone of an address as it stands, embedded IPv4 not followed."""
        family = address.version
        zones = self.sections[f"ipv{family}/zones"].cast("H")
        starts = self.sections[f"ipv{family}/starts"]
        if family == 4:
            return zones[bisect.bisect_right(starts.cast("I"), int(address)) - 1]
        packed = address.packed
        at = bisect.bisect_right(range(len(zones)), packed, key=lambda i: bytes(starts[16 * i : 16 * i + 16]))
        return zones[at - 1]

    def row(self, zone: int, service: int, *, embedded: bool = False) -> Row:
        """The row of a zone for a service, both by number."""
        section = self.sections["rows_embedded" if embedded else "rows"].cast("H")
        return self.meta.rows[section[zone * len(self.meta.services) + service]]


def meta_json(meta: Meta) -> dict[str, Any]:
    """The JSON form of the meta part; `_meta` is its inverse."""
    services = [_fields(service) | {"targets": [*map(_fields, service.targets)]} for service in meta.services]
    return _fields(meta) | {
        "inputs": [*map(_fields, meta.inputs)],
        "services": services,
        "zones": [*map(_fields, meta.zones)],
        "rows": [*map(_fields, meta.rows)],
    }


def _fields(record: Meta | ServiceSpec | Target | Input | Zone | Row) -> dict[str, Any]:
    """One level of it: dataclasses.asdict copies every string and number, which takes several times as long."""
    return {name: getattr(record, name) for name in record.__slots__}


def _meta(content: Mapping[str, Any]) -> Meta:
    services = tuple(
        ServiceSpec(
            **{
                **service,
                "tcp": _ranges(service["tcp"]),
                "udp": _ranges(service["udp"]),
                "protocols": tuple(service["protocols"]),
                "addresses": tuple(service["addresses"]),
                "targets": tuple(Target(**target) for target in service["targets"]),
            }
        )
        for service in content["services"]
    )
    return Meta(
        compiler=content["compiler"],
        policy=content["policy"],
        inputs=tuple(Input(**item) for item in content["inputs"]),
        services=services,
        never_drop_tcp=_ranges(content["never_drop_tcp"]),
        never_drop_udp=_ranges(content["never_drop_udp"]),
        classes=tuple(content["classes"]),
        zones=tuple(Zone(**zone) for zone in content["zones"]),
        rows=tuple(Row(**row) for row in content["rows"]),
        database_age=content.get("database_age"),
    )


def _ranges(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(last)) for first, last in pairs)


def _all_below(limit: int, section: memoryview) -> bool:
    """Whether every uint16 of a section is below a limit.

    As a match of text where that is possible (below the surrogates): no number becomes an object.
    """
    if not 0 < limit < 0xD800:
        return max(section.cast("H"), default=-1) < limit
    text = section.tobytes().decode("utf-16-le", "surrogatepass")
    return re.fullmatch(f"[\0-{re.escape(chr(limit - 1))}]*", text) is not None


def _expect(fact: bool, what: str) -> None:  # noqa: FBT001 - a bare condition reads best here
    if not fact:
        raise ValueError(what)
