# SPDX-License-Identifier: Apache-2.0
"""The JSON part of a ruleset as typed records: services, zones, rows and what they refer to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from geodrop.policy.model import Rung

MAX_ZONES = 32_767
MAX_CLASSES = 1_024
NO_CLASS = -1
OTHER = -2
"""A pseudo counter class: packets that nftables drops without counting their region, list or prefix separately."""
OTHER_LABEL = "other"


class Embedding(StrEnum):
    """The ways an IPv6 address can hold an IPv4 one."""

    SIXTOFOUR = "6to4"  # 2002::/16, bits 16-47 (RFC 3056)
    TEREDO = "teredo"  # 2001::/32, the client's address inverted in bits 96-127 (RFC 4380)
    NAT64 = "nat64"  # 64:ff9b::/96, bits 96-127 (RFC 6052)
    MAPPED = "mapped"  # ::ffff:0:0/96, bits 96-127 (RFC 4291)

    def extract(self, address: int) -> int:
        """Return the IPv4 address inside the IPv6 address, both as integers."""
        if self is Embedding.SIXTOFOUR:
            return address >> 80 & 0xFFFF_FFFF
        low = address & 0xFFFF_FFFF
        return low ^ 0xFFFF_FFFF if self is Embedding.TEREDO else low


@dataclass(frozen=True, slots=True)
class Row:
    """What a zone means for a service.

    `verdict` is "accept", "drop", or "embedded": look up the embedded IPv4 address and take its embedded row.
    `klass` is the number of the counter class. `line` is the line of the policy that decides, and `at` its number in
    the file, from 1; 0 if no line decides.
    """

    verdict: str
    rung: str
    line: str
    klass: int = NO_CLASS
    at: int = 0

    @property
    def by_drawn_list(self) -> bool:
        """Whether a list that is drawn from databases decides."""
        return self.rung == Rung.LIST


@dataclass(frozen=True, slots=True)
class Zone:
    """A class of addresses that the policy cannot tell apart; `region` is None if no service depends on it."""

    region: str | None = None
    special: bool = False
    embedding: str | None = None
    never_drop: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where an nftables map element leads, for one service.

    kind "drop": count under `klass`, which may be OTHER, and drop. "never-drop" and "special": accept an address on the
    wire (counted as never_drop or accepted); for an address embedded in IPv6, count under `klass` and drop, or accept
    if `klass` is NO_CLASS. "embedded": extract the IPv4 address by `embedding` and look it up in the IPv4 map.
    """

    kind: str
    klass: int = NO_CLASS
    embedding: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service as the dataplane needs it; `starts` in seconds since the epoch, port ranges inclusive.

    `action` is "drop" or "reject". `ramp` holds moments in seconds since the epoch, ascending, each with the share of
    sources that is dropped from then on, in hundredths of a percent; empty: all are.

    `counted` are the classes inside OTHER that nftables counts separately, once there is time to build the map for
    them.
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
    counted: tuple[int, ...] = ()
    ramp: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class CompiledTest:
    """A test of the policy, under `expect` of a service, which held when the ruleset was compiled.

    `aim` is "accept", "drop" or "region", for every address of `prefix`; `region` is set for "region". `at` is the
    number of the test's line in the policy, from 1.
    """

    service: str
    aim: str
    prefix: str
    region: str | None
    at: int


@dataclass(frozen=True, slots=True)
class CompiledGroup:
    """A group of the policy with its `members` as written: a country, a subdivision, `continent:AS`, `list:NAME`, a
    prefix, or another group as `group:NAME`; instead of territories and groups of the atlas the codes of these.
    """

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompiledCorrection:
    """A correction of the policy: the addresses of `prefix` count as `country`.

    `was` is what the databases say of them: countries, `continent:AS` or `unknown`, in order. `at` is the number of the
    correction's line in the policy, from 1; 0 if it is not known.
    """

    prefix: str
    country: str
    was: tuple[str, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an address is in a list drawn from databases: `list` is its name, `what` is "AS64496", or a trait with the
    confidence that the list asks for ("vpn 50"), and `database` the name of the database that says so.
    """

    list: str
    what: str
    database: str


@dataclass(frozen=True, slots=True)
class Role:
    """What a database is used for: "country", "subdivision", "asn" or "traits".

    `ipv4` is the number of IPv4 addresses, and `ipv6_48s` the number of /48s of 2000::/3, of which it says this.
    """

    name: str
    ipv4: int
    ipv6_48s: int


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a ruleset was compiled from; `kind` is policy, database or list, `name` is without folders.

    A list has its name from the policy, and the number of its `prefixes`; a range counts as the prefixes it consists
    of. A database has the `countries` that it has an address of, and its `roles`.
    """

    kind: str
    name: str
    sha256: str
    database_type: str | None = None
    build_epoch: int | None = None
    prefixes: int | None = None
    countries: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()


@dataclass(frozen=True, slots=True)
class Meta:
    """The JSON part.

    `database_age` is the age in seconds from which a database is reported as too old, `blast_radius` the largest share
    that a change to this ruleset may move; None for no limit. `blast_radius_at` and `database_age_at` are the lines of
    the policy that say so, 0 if none does. `compiled` is when the ruleset was compiled, in seconds since the epoch;
    only a ruleset that was compiled to be signed has it.

    `drawn` has for each mark (see ruleset.model) why addresses with it are in lists drawn from databases; the first
    mark is of addresses that are in none.
    """

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
    tests: tuple[CompiledTest, ...] = ()
    blast_radius: float | None = None
    blast_radius_at: int = 0
    database_age_at: int = 0
    groups: tuple[CompiledGroup, ...] = ()
    corrections: tuple[CompiledCorrection, ...] = ()
    compiled: int | None = None
    drawn: tuple[tuple[Reason, ...], ...] = ()

    @property
    def policy_name(self) -> str:
        """The name of the policy file, without folders."""
        return next((one.name for one in self.inputs if one.kind == "policy"), "policy.yaml")

    def label(self, klass: int) -> str | None:
        """Return the name of a counter class; None for NO_CLASS."""
        if klass < 0:
            return OTHER_LABEL if klass == OTHER else None
        return self.classes[klass]


def meta_json(meta: Meta) -> dict[str, Any]:
    """Return the JSON form of the meta part; `schema.meta_of` is its inverse."""
    services = [_fields(service) | {"targets": [*map(_fields, service.targets)]} for service in meta.services]
    own = _fields(meta)
    if meta.compiled is None:
        # The same inputs give the same bytes, at whatever time and by whatever version that knows of this key.
        del own["compiled"]
    return own | {
        "inputs": [_fields(one) | {"roles": [*map(_fields, one.roles)]} for one in meta.inputs],
        "services": services,
        "zones": [*map(_fields, meta.zones)],
        "rows": [*map(_fields, meta.rows)],
        "tests": [*map(_fields, meta.tests)],
        "groups": [*map(_fields, meta.groups)],
        "corrections": [*map(_fields, meta.corrections)],
        "drawn": [[*map(_fields, mark)] for mark in meta.drawn],
    }


def _fields(
    record: Meta
    | ServiceSpec
    | Target
    | Input
    | Role
    | Reason
    | Zone
    | Row
    | CompiledTest
    | CompiledGroup
    | CompiledCorrection,
) -> dict[str, Any]:
    """Return one level of a record as a dictionary.

    dataclasses.asdict copies every string and number, which takes several times as long.
    """
    return {name: getattr(record, name) for name in record.__slots__}
