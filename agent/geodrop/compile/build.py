"""From a checked policy and open databases to the bytes of a ruleset. Pure: the same inputs give the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geodrop import __version__
from geodrop.compile import nftables
from geodrop.compile.rows import build_rows
from geodrop.compile.xdp import build_tables
from geodrop.compile.zones import build_zones
from geodrop.document.problems import Problem
from geodrop.errors import DataError, PolicyError
from geodrop.policy.ladder import build_ladder
from geodrop.policy.model import LineKind
from geodrop.ruleset import schema
from geodrop.ruleset.container import meta_of, pack, same_bytes
from geodrop.ruleset.fields import Invalid
from geodrop.ruleset.model import SMALLER, Input, Meta, Ruleset, ServiceSpec, Target, meta_json
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geodrop.compile.rows import Rows
    from geodrop.compile.zones import Zones
    from geodrop.geo.database import Database
    from geodrop.geo.world import RegionMap
    from geodrop.policy.model import Line, Policy, Service
    from geodrop.ruleset.container import Container, Content


CUT = ("ipv4/starts", "ipv4/zones", "ipv6/starts", "ipv6/zones")
"""The sections that say how the address space is cut up."""


def build(policy: Policy, region_map: RegionMap, inputs: Iterable[Input]) -> bytes:
    """Compile. `inputs` are the policy, lists and databases, for the record.

    Raises PolicyError for what only shows with the databases at hand, and for limits that are passed.
    """
    return write(*assemble(policy, region_map, inputs))


def write(meta: Meta, sections: Mapping[str, Content], base: Container | None = None) -> bytes:
    """The bytes of the file, thin where that is worth it; raises DataError for what no host would take."""
    data = pack(meta_json(meta), sections, base)
    try:
        schema.meta_of(meta_of(data))
        schema.check_intervals(meta, sections)
    except schema.OversizedError as error:
        raise DataError(f"the ruleset would be more than a kernel should be given ({error})", SMALLER) from error
    except Invalid as invalid:
        raise DataError(
            f"the ruleset would be refused wherever it is loaded ({invalid})", "make the policy smaller"
        ) from invalid
    return data


def assemble(
    policy: Policy, region_map: RegionMap, inputs: Iterable[Input], *, previous: Ruleset | None = None
) -> tuple[Meta, dict[str, Content]]:
    """The same in parts. Tables that `previous` has are not built again where that would give the same bytes."""
    _check_subdivisions(policy, region_map)
    ladders = [build_ladder(policy, service) for service in policy.services]
    zones = build_zones(policy, ladders, region_map)
    rows = build_rows(policy, ladders, zones)
    sections = _sections(zones, rows)
    sections.update(_tables_of(previous, sections, zones) or build_tables(zones).sections())
    services = []
    maps = [nftables.build_maps(zones, rows, number) for number in range(len(policy.services))]
    for service, own, counted in zip(policy.services, maps, nftables.counted(maps, rows.classes), strict=True):
        services.append(_spec(service, own.targets, counted))
        sections.update(nftables.sections(own, service.name, counted))
    age = policy.limits.database_age
    meta = Meta(
        compiler=__version__,
        policy=policy.text,
        inputs=tuple(inputs),
        services=tuple(services),
        never_drop_tcp=policy.never_drop.ports.tcp,
        never_drop_udp=policy.never_drop.ports.udp,
        classes=rows.classes,
        zones=rows.zones,
        rows=rows.distinct,
        database_age=None if age is None else int(age.total_seconds()),
    )
    return meta, sections


def absent_countries(policy: Policy, region_map: RegionMap) -> list[Problem]:
    """A warning for each line that names a country of which no database has an address.

    Whoever comes from there counts as `unknown`: cut, where an allow list names it and the database has lost it.
    """
    known = {region.country for region in region_map.regions}
    return sorted(
        {
            Problem(
                line.place,
                f"{line.name}: no loaded database has an address of this country, so its clients count as unknown; "
                "look whether the database is whole",
                "warning",
                policy.source(line.place),
            )
            for line in _lines(policy)
            if line.kind is LineKind.COUNTRY and line.name not in known
        }
    )


def costly_services(policy: Policy, sections: Mapping[str, Content]) -> list[Problem]:
    """A warning for each service of which neither what is accepted nor what is dropped is small for nftables."""
    found = []
    for service in policy.services:
        counts = [len(sections[f"nft/{service.name}/ipv{family}/targets"]) // 2 for family in (4, 6)]
        if sum(counts) > nftables.COSTLY:
            message = (
                f'service "{service.name}" takes {sum(counts):,} intervals on nftables, since neither what it accepts '
                f"nor what it drops is small: loads and repairs take {sum(counts) / nftables.USUAL:.0f} times as long "
                "as those of a list of ten countries; xdp would take no longer for it (`engine: xdp` in agent.yaml)"
            )
            found.append(Problem(service.place, message, "warning"))
    return found


def identity(database: Database) -> Input:
    """What a ruleset records of a database."""
    return Input("database", harmless(database.name), database.sha256, database.database_type, database.build_epoch)


def _tables_of(previous: Ruleset | None, sections: Mapping[str, Content], zones: Zones) -> dict[str, memoryview] | None:
    """The xdp tables of a ruleset with the same intervals and zones, made by the same compiler; None otherwise.

    They depend on nothing else, and take longer than all the rest. So a change of verdicts does not wait for them.
    """
    if previous is None or not previous.has_xdp or previous.meta.compiler != __version__:
        return None
    same = all(same_bytes(sections[name], previous.sections[name]) for name in CUT)
    if not same or len(previous.meta.zones) != len(zones.keys):
        return None
    return {name: section for name, section in previous.sections.items() if name.startswith("xdp/")}


def _sections(zones: Zones, rows: Rows) -> dict[str, Content]:
    return {
        "ipv4/starts": zones.ipv4.starts.astype("<u4").tobytes(),
        "ipv4/zones": zones.ipv4.values.astype("<u2").tobytes(),
        "ipv6/starts": zones.ipv6.starts.tobytes(),
        "ipv6/zones": zones.ipv6.values.astype("<u2").tobytes(),
        "rows": np.array(rows.wire, dtype="<u2").tobytes(),
        "rows_embedded": np.array(rows.embedded, dtype="<u2").tobytes(),
    }


def _spec(service: Service, targets: tuple[Target, ...], counted: tuple[int, ...]) -> ServiceSpec:
    return ServiceSpec(
        name=service.name,
        mode=service.mode,
        starts=None if service.starts is None else int(service.starts.timestamp()),
        established=service.established,
        catch_all=service.match.catch_all,
        tcp=service.match.ports.tcp,
        udp=service.match.ports.udp,
        protocols=service.match.protocols,
        addresses=tuple(map(str, service.match.addresses)),
        targets=targets,
        action=service.action,
        counted=counted,
    )


def _check_subdivisions(policy: Policy, region_map: RegionMap) -> None:
    """A named subdivision that no database carries would never match: refuse it, since nobody would notice."""
    carried = {code for region in region_map.regions for code in region.subdivisions}
    problems = [
        Problem(
            line.place,
            f"{line.name}: no loaded database carries this subdivision; "
            "add a database of cities that does, or name the country",
            source=policy.source(line.place),
        )
        for line in _lines(policy)
        if line.kind is LineKind.SUBDIVISION and line.name not in carried
    ]
    if problems:
        raise PolicyError(sorted(set(problems)))


def _lines(policy: Policy) -> Iterable[Line]:
    for service in policy.services:
        yield from service.allow
        yield from service.deny
    for group in policy.groups.values():
        yield from group
