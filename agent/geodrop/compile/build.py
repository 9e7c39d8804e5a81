# SPDX-License-Identifier: Apache-2.0
"""Build the bytes of a ruleset from a checked policy and open databases. The same inputs give the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geodrop import __version__
from geodrop.compile import nftables
from geodrop.compile.carried import absent, uncarried
from geodrop.compile.drawn import doubtful, lacking
from geodrop.compile.expect import compiled_tests, failed_tests
from geodrop.compile.roles import roles
from geodrop.compile.rows import build_rows
from geodrop.compile.xdp import build_tables
from geodrop.compile.zones import build_zones
from geodrop.document.problems import Problem
from geodrop.errors import DataError, PolicyError
from geodrop.policy.atlas import KINDS, members
from geodrop.policy.ladder import build_ladder
from geodrop.ruleset import schema
from geodrop.ruleset.container import meta_of, pack, same_bytes
from geodrop.ruleset.fields import Invalid
from geodrop.ruleset.model import (
    SMALLER,
    CompiledCorrection,
    CompiledGroup,
    Input,
    Meta,
    Ruleset,
    ServiceSpec,
    Target,
    meta_json,
)
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from geodrop.compile.rows import Rows
    from geodrop.compile.zones import Zones
    from geodrop.geo.database import Database
    from geodrop.geo.world import RegionMap
    from geodrop.policy.model import Line, Policy, Service
    from geodrop.ruleset.container import Container, Content


CUT = ("ipv4/starts", "ipv4/zones", "ipv6/starts", "ipv6/zones")
"""The sections that divide the address space into intervals with zones."""


def build(policy: Policy, region_map: RegionMap, inputs: Iterable[Input]) -> bytes:
    """Compile a policy. `inputs` records the policy, list files and databases.

    Raises PolicyError for problems that only the databases reveal, for tests that fail, and if a limit is exceeded.
    """
    return write(*assemble(policy, region_map, inputs))


def write(meta: Meta, sections: Mapping[str, Content], base: Container | None = None) -> bytes:
    """Return the bytes of the file, a delta file if that saves enough.

    Raises DataError if hosts would refuse the ruleset.
    """
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
    """Return meta part and sections. Tables of `previous` are reused where building them would give the same bytes.

    Raises PolicyError, with every test of the policy that fails.
    """
    meta, sections = assemble_untested(policy, region_map, inputs, previous=previous)
    if failed := sorted(failed_tests(policy, meta, sections, region_map)):
        raise PolicyError(failed)
    return meta, sections


def assemble_untested(
    policy: Policy, region_map: RegionMap, inputs: Iterable[Input], *, previous: Ruleset | None = None
) -> tuple[Meta, dict[str, Content]]:
    """As `assemble`, but run no test of the policy: for answers about a policy, never for a ruleset to be loaded."""
    _check_carried(policy, region_map)
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
        tests=compiled_tests(policy),
        blast_radius=policy.limits.blast_radius,
        blast_radius_at=policy.limits.at.get("blast_radius", 0),
        database_age_at=policy.limits.at.get("database_age", 0),
        groups=tuple(CompiledGroup(name, tuple(_written(group))) for name, group in policy.groups.items()),
        drawn=zones.drawn.reasons,
        corrections=tuple(
            CompiledCorrection(
                str(network), country, region_map.corrected.get(network, ()), policy.corrected_at.get(network, 0)
            )
            for network, country in policy.corrections.items()
        ),
    )
    return meta, sections


def doubts(policy: Policy, region_map: RegionMap) -> list[Problem]:
    """Return a warning for what a policy names and no database has, where that may be meant."""
    return doubtful(policy, region_map.attributes) + sorted(absent(policy, region_map))


def costly_services(policy: Policy, sections: Mapping[str, Content]) -> list[Problem]:
    """Return a warning for each service that needs many nftables intervals.

    That is one for which neither the accepted nor the dropped part of the address space has few intervals.
    """
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
    """Return the record of a database in a ruleset."""
    return Input(
        "database",
        harmless(database.name),
        database.sha256,
        database.database_type,
        database.build_epoch,
        countries=tuple(sorted({region.country for region in database.regions if region.country})),
        roles=roles(database),
    )


def _tables_of(previous: Ruleset | None, sections: Mapping[str, Content], zones: Zones) -> dict[str, memoryview] | None:
    """Return the xdp tables of `previous` if it has the same intervals and zones and the same compiler, else None.

    The tables depend on nothing else, and building them takes longer than the rest of a compile. So a change of
    verdicts does not wait for them.
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
        **zones.drawn.sections(),
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
        ramp=service.ramp,
    )


def _written(group: Iterable[Line]) -> Iterator[str]:
    """Yield the lines of a group as written, and the codes of the atlas: another release may have another atlas."""
    for line in group:
        yield from (one.text for one in members(line)) if line.kind in KINDS else (line.text,)


def _check_carried(policy: Policy, region_map: RegionMap) -> None:
    """Refuse what no database carries: it would never match, and the user would not notice."""
    problems = uncarried(policy, region_map) + lacking(policy, region_map.attributes)
    if problems:
        raise PolicyError(sorted(set(problems)))
