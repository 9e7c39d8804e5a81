"""A ruleset as its readers see it: services, zones, rows (ruleset.meta), and the intervals that lead to them.

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
    nft/SERVICE/FAMILY/counted/starts, .../ends, .../classes   where the service has `counted`: the same columns of the
                 map that tells these classes apart; a class is a number in `counted`
    xdp/limit    UTF-8, in place of the others where the address space needs more than the XDP program has: what of
    xdp/ipv4, xdp/ipv6   uint32[65536], the roots of the XDP program's tables; bpf/layout.h has these structs
    xdp/children         entry[n], both families
    xdp/lines            line[n] and node[n], both families
    xdp/digest           SHA-256 over the other four: rulesets that agree in it have the same tables
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from geodrop.errors import DataError
from geodrop.ruleset import container, schema
from geodrop.ruleset.fields import Invalid
from geodrop.ruleset.meta import (
    MAX_CLASSES,
    MAX_ZONES,
    NO_CLASS,
    OTHER,
    Embedding,
    Input,
    Meta,
    Row,
    ServiceSpec,
    Target,
    Zone,
    meta_json,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address

SMALLER = "let services that judge alike be one service, or deny fewer regions"

__all__ = [
    "MAX_CLASSES",
    "MAX_ZONES",
    "NO_CLASS",
    "OTHER",
    "SMALLER",
    "Embedding",
    "Input",
    "Meta",
    "Row",
    "Ruleset",
    "ServiceSpec",
    "Target",
    "Zone",
    "meta_json",
]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """An opened ruleset file; `file` is None for one that never was in a file."""

    digest: str
    meta: Meta
    sections: Mapping[str, memoryview] = field(repr=False)
    file: container.Container | None = field(default=None, repr=False, compare=False)

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
        """Type the JSON part and check that all of it is within its bounds, and the sections too; raises DataError."""
        try:
            meta = schema.meta_of(opened.meta)
            schema.check_sections(meta, opened.sections, {one: found.sha256 for one, found in opened.table.items()})
        except schema.OversizedError as error:
            raise DataError(f"{name}: more than a kernel should be given ({error})", SMALLER) from error
        except Invalid as invalid:
            raise DataError(f"{name}: damaged ruleset ({invalid})", "compile it again") from invalid
        return cls(opened.digest, meta, opened.sections, opened)

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
