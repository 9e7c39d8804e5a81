# SPDX-License-Identifier: Apache-2.0
"""A ruleset as its readers see it: services, zones and rows (ruleset.meta), and the intervals that lead to them.

`compile` builds the parts and packs them; `load`, `explain`, `export` and the engines read them back here. No numpy:
intervals are searched in place with bisect.

Sections (little-endian unless said otherwise):

    ipv4/starts  uint32[n]   first address of each interval, ascending from 0
    ipv4/zones   uint16[n]   the zone of each interval
    ipv6/starts  byte[16n]   the same, big-endian addresses
    ipv6/zones   uint16[n]
    rows         uint16[zones * services]  zone-major; an index into meta "rows": the row for the address on the wire
    rows_embedded  the same for an IPv4 address embedded in an IPv6 one
    drawn/ipv4/starts, .../marks, and drawn/ipv6/...   if the policy uses lists drawn from databases: intervals as
                 above, each with a mark, uint16[n]: an index into meta "drawn", which says why they are in which lists
    nft/SERVICE/FAMILY/starts, .../ends   nftables keys, 4 or 16 bytes big-endian; ends are exclusive; the end of the
                 family itself is written as all zeroes
    nft/SERVICE/FAMILY/targets  uint16[n]  an index into the service's "targets"
    nft/SERVICE/FAMILY/counted/starts, .../ends, .../classes   if the service has `counted`: the same columns for the
                 map that counts these classes separately; a class is an index into `counted`
    xdp/limit    UTF-8, instead of the other xdp sections if the address space exceeds the XDP program's tables: which
                 limit it exceeds
    xdp/ipv4, xdp/ipv6   uint32[65536], the roots of the XDP program's tables; bpf/layout.h has these structs
    xdp/children         entry[n], both families
    xdp/lines            line[n] and node[n], both families
    xdp/digest           SHA-256 over the other four: rulesets with equal xdp/digest have the same tables
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
    CompiledCorrection,
    CompiledGroup,
    CompiledTest,
    Embedding,
    Input,
    Meta,
    Reason,
    Role,
    Row,
    ServiceSpec,
    Target,
    Zone,
    meta_json,
)
from geodrop.ruleset.upgrade import upgraded

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
    "CompiledCorrection",
    "CompiledGroup",
    "CompiledTest",
    "Embedding",
    "Input",
    "Meta",
    "Reason",
    "Role",
    "Row",
    "Ruleset",
    "ServiceSpec",
    "Target",
    "Zone",
    "meta_json",
]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """An opened ruleset; `file` is None if it was never read from a file."""

    digest: str
    meta: Meta
    sections: Mapping[str, memoryview] = field(repr=False)
    file: container.Container | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Self:
        """Read, check and open a file. Raises DataError.

        The base of a delta file is looked for beside it, then in `folder`.
        """
        return cls.of(container.open_file(path, folder), str(path))

    @classmethod
    def unpack(cls, data: bytes, name: str) -> Self:
        """Check and open a file held in memory; `name` is for messages. Raises DataError."""
        return cls.of(container.unpack(data, name), name)

    @classmethod
    def of(cls, opened: container.Container, name: str) -> Self:
        """Decode the JSON part, and check the bounds of all its values and of the sections. Raises DataError."""
        try:
            meta = schema.meta_of(upgraded(opened.meta, opened.number))
            schema.check_sections(meta, opened.sections, {one: found.sha256 for one, found in opened.table.items()})
        except schema.OversizedError as error:
            raise DataError(f"{name}: more than a kernel should be given ({error})", SMALLER) from error
        except Invalid as invalid:
            raise DataError(f"{name}: damaged ruleset ({invalid})", "compile it again") from invalid
        return cls(opened.digest, meta, opened.sections, opened)

    @property
    def has_xdp(self) -> bool:
        """Whether the ruleset has the tables of the xdp engine."""
        return "xdp/lines" in self.sections

    @property
    def xdp_limit(self) -> str:
        """Why the ruleset has no tables of the xdp engine."""
        return self.sections.get("xdp/limit", memoryview(b"compiled without")).tobytes().decode()

    def paused(self, until: int) -> Self:
        """Return the ruleset as it is while paused: no service starts before `until`, in seconds since the epoch.

        An engine built from it ends the pause by the kernel's clock, without any process running.
        """
        if not until:
            return self
        services = tuple(replace(service, starts=max(service.starts or 0, until)) for service in self.meta.services)
        return replace(self, meta=replace(self.meta, services=services))

    def zone_at(self, address: IPv4Address | IPv6Address) -> int:
        """Return the zone of an address as written; an embedded IPv4 address is not followed."""
        return self._value_at(f"ipv{address.version}/starts", f"ipv{address.version}/zones", address)

    def drawn_at(self, address: IPv4Address | IPv6Address) -> tuple[Reason, ...]:
        """Return why an address, as written, is in lists drawn from databases; empty if it is in none."""
        prefix = f"drawn/ipv{address.version}"
        if f"{prefix}/marks" not in self.sections:
            return ()
        return self.meta.drawn[self._value_at(f"{prefix}/starts", f"{prefix}/marks", address)]

    def _value_at(self, starts_name: str, values_name: str, address: IPv4Address | IPv6Address) -> int:
        values, starts = self.sections[values_name].cast("H"), self.sections[starts_name]
        if address.version == 4:
            return values[bisect.bisect_right(starts.cast("I"), int(address)) - 1]
        packed = address.packed
        at = bisect.bisect_right(range(len(values)), packed, key=lambda i: bytes(starts[16 * i : 16 * i + 16]))
        return values[at - 1]

    def row(self, zone: int, service: int, *, embedded: bool = False) -> Row:
        """Return the row of a zone for a service, both given by number."""
        section = self.sections["rows_embedded" if embedded else "rows"].cast("H")
        return self.meta.rows[section[zone * len(self.meta.services) + service]]
