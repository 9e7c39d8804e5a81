# SPDX-License-Identifier: Apache-2.0
"""The bounds of a ruleset file: of every number, text and list of its JSON part, and of every section.

The author of a ruleset file decides which packets are dropped, and must not be able to do more than that. A number out
of bounds is damage: it is found here and named with its place, before an engine could fail on it.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING

from geodrop.addresses import network_of
from geodrop.policy.model import MAX_STEPS, MAX_TESTS, Action, Aim, Established, Mode, Rung
from geodrop.ruleset.fields import (
    LAST_MOMENT,
    Field,
    Invalid,
    choice,
    flag,
    listing,
    number,
    optional,
    record,
    shown,
    span,
    text,
    whole,
)
from geodrop.ruleset.intervals import WIDTH
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
)
from geodrop.ruleset.ordering import all_below, below
from geodrop.ruleset.ramp import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sized

    from geodrop.ruleset.ordering import Order

MAX_POLICY = 1 << 20
"""Most characters of a policy, and so most lines."""
MAX_SERVICES = 1_000
MAX_NUMBERS = 1 << 16
"""Most things that a 16-bit number in a section can refer to."""
MAX_TARGETS = 3 * MAX_CLASSES
MAX_INPUTS = 2_048

MAX_INTERVALS, MAX_INTERVALS_IN_ALL = 1 << 20, 4 << 20
"""Most intervals of one nftables map, and of all maps together: three times the world (350,000 in IPv4), and six
services that deny the whole world but one country. An interval takes 200 to 480 bytes of kernel memory, twice that
during a switch of generations, and the systemd units are allowed 4 GB."""

# The same numbers are in bpf/layout.h and compile/xdp.py; a test compares them.
ROOT_BYTES, ENTRY_BYTES, LINE_BYTES, DIGEST_BYTES = 4 << 16, 8, 64, 32
MAX_CHILDREN, MAX_LINES = 7 << 16, 1 << 21
MORE, WORD_LINE = 0x8000_0000, (1 << 27) - 1

MAX_LIMIT = 200

_SHA256 = re.compile("[0-9a-f]{64}")
_NAME = re.compile("[a-z][a-z0-9_-]{0,31}")
_WORD = re.compile(r"[A-Za-z0-9:._/-]+")
_COUNTRY = re.compile("[A-Z]{2}")
_SAID = re.compile("AS[0-9]{1,10}|[a-z_]{1,20}( [0-9]{1,2})?")
_POLICY = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]*")


def _network(value: object) -> str:
    try:
        if type(value) is str and str(network_of(value)) == value:
            return value
    except ValueError:
        pass
    raise Invalid(f"{shown(value)} is no prefix")


def _ports(value: object) -> tuple[tuple[int, int], ...]:
    ranges = _RANGES(value)
    for at in range(1, len(ranges)):
        if ranges[at - 1][1] >= ranges[at][0]:
            raise Invalid("does not come after the range before it").inside(f"[{at}]")
    return ranges


_RANGES = listing(span(0, 65_535), 1 << 15)
_CLASS = whole(NO_CLASS, MAX_CLASSES - 1)
_EMBEDDING: Field[str | None] = optional(choice(*Embedding))
_MOMENT = whole(0, LAST_MOMENT)

_TARGET = record(
    Target,
    kind=choice("drop", "never-drop", "special", "embedded"),
    klass=whole(OTHER, MAX_CLASSES - 1),
    embedding=_EMBEDDING,
)

_STEPS = listing(listing(whole(0, LAST_MOMENT), 2, 2), MAX_STEPS)


def _ramp(value: object) -> tuple[tuple[int, int], ...]:
    """Return steps that go upwards, in time and in share."""
    steps = tuple((moment, share) for moment, share in _STEPS(value))
    for at, (moment, share) in enumerate(steps):
        before = steps[at - 1] if at else (-1, 0)
        if moment <= before[0] or not before[1] < share <= BUCKETS:
            raise Invalid(f"step {at} does not go upwards")
    return steps


_SERVICE = record(
    ServiceSpec,
    ("ramp",),
    name=text(32, _NAME),
    mode=choice(*Mode),
    starts=optional(_MOMENT),
    established=choice(*Established),
    catch_all=flag,
    tcp=_ports,
    udp=_ports,
    protocols=listing(whole(0, 255), 256),
    addresses=listing(_network, MAX_NUMBERS),
    targets=listing(_TARGET, MAX_TARGETS),
    action=choice(*Action),
    counted=listing(whole(0, MAX_CLASSES - 1), MAX_CLASSES),
    ramp=_ramp,
)

_TEST = record(
    CompiledTest,
    service=text(32, _NAME),
    aim=choice(*Aim),
    prefix=_network,
    region=optional(text(32, _WORD)),
    at=whole(1, MAX_POLICY),
)

_GROUP = record(CompiledGroup, name=text(32, _NAME), members=listing(text(64, _WORD), MAX_NUMBERS))

_CORRECTION = record(
    CompiledCorrection,
    prefix=_network,
    country=text(2, _COUNTRY),
    was=listing(text(32, _WORD), 1_000),
    at=whole(0, MAX_POLICY),
)

ROLE = record(
    Role,
    name=choice("country", "subdivision", "asn", "traits"),
    ipv4=whole(0, 1 << 32),
    ipv6_48s=whole(0, 1 << 45),
)
MAX_ROLES = 8

_REASON = record(Reason, list=text(32, _NAME), what=text(32, _SAID), database=text(4_096))
MAX_REASONS = 1_024
"""Most reasons why an address is in lists: a few traits and a number for each list."""

META = record(
    Meta,
    ("tests", "blast_radius", "blast_radius_at", "database_age_at", "groups", "corrections", "compiled", "drawn"),
    compiler=text(64),
    policy=text(MAX_POLICY, _POLICY),
    inputs=listing(
        record(
            Input,
            ("prefixes", "countries", "roles"),
            kind=choice("policy", "database", "list"),
            name=text(4_096),
            sha256=text(64, _SHA256),
            database_type=optional(text(1_024)),
            build_epoch=optional(_MOMENT),
            prefixes=optional(whole(0, (1 << 32) - 1)),
            countries=listing(text(2, _COUNTRY), 1_000),
            roles=listing(ROLE, MAX_ROLES),
        ),
        MAX_INPUTS,
    ),
    services=listing(_SERVICE, MAX_SERVICES),
    never_drop_tcp=_ports,
    never_drop_udp=_ports,
    classes=listing(text(64, _WORD), MAX_CLASSES),
    zones=listing(
        record(
            Zone,
            region=optional(text(32, _WORD)),
            special=flag,
            embedding=_EMBEDDING,
            never_drop=optional(_network),
        ),
        MAX_ZONES,
    ),
    rows=listing(
        record(
            Row,
            verdict=choice("accept", "drop", "embedded"),
            rung=choice(*Rung, ""),
            line=text(256),
            klass=_CLASS,
            at=whole(0, MAX_POLICY),
        ),
        MAX_NUMBERS,
    ),
    database_age=optional(whole(0, LAST_MOMENT)),
    tests=listing(_TEST, MAX_TESTS),
    blast_radius=optional(number(0, 1)),
    blast_radius_at=whole(0, MAX_POLICY),
    database_age_at=whole(0, MAX_POLICY),
    groups=listing(_GROUP, MAX_NUMBERS),
    corrections=listing(_CORRECTION, MAX_NUMBERS),
    compiled=optional(_MOMENT),
    drawn=listing(listing(_REASON, MAX_REASONS), MAX_NUMBERS),
)


def meta_of(content: object) -> Meta:
    """Decode the JSON part, and check that references between its parts are valid. Raises Invalid."""
    meta = META(content)
    _distinct("services", (service.name for service in meta.services))
    _distinct("classes", meta.classes)
    _distinct("groups", (group.name for group in meta.groups))
    _distinct("corrections", (correction.prefix for correction in meta.corrections))
    known = {service.name for service in meta.services}
    for at, test in enumerate(meta.tests):
        if test.service not in known:
            raise Invalid(f"{shown(test.service)} is no service").inside(f"tests[{at}].service")
        if (test.aim == Aim.REGION) != (test.region is not None):
            raise Invalid("its aim and its region contradict each other").inside(f"tests[{at}]")
    for at, row in enumerate(meta.rows):
        _check_class(f"rows[{at}]", row.klass, meta, counts=row.verdict == "drop")
    for at, service in enumerate(meta.services):
        for index, klass in enumerate(service.counted):
            _check_class(f"services[{at}].counted[{index}]", klass, meta, counts=True)
        for index, target in enumerate(service.targets):
            place = f"services[{at}].targets[{index}]"
            if target.klass != OTHER or target.kind == "embedded":
                _check_class(place, target.klass, meta, counts=target.kind == "drop")
            if (target.kind == "embedded") != (target.embedding is not None):
                raise Invalid("its kind and its embedding contradict each other").inside(place)
    return meta


def _distinct(name: str, found: Iterable[str]) -> None:
    seen: set[str] = set()
    for at, one in enumerate(found):
        if one in seen:
            raise Invalid(f"{shown(one)} is there twice").inside(f"{name}[{at}]")
        seen.add(one)


def _check_class(place: str, klass: int, meta: Meta, *, counts: bool) -> None:
    if not (0 if counts else NO_CLASS) <= klass < len(meta.classes):
        raise Invalid(f"{klass} is not the number of a counter class").inside(f"{place}.klass")


def check_sections(meta: Meta, sections: Mapping[str, memoryview], hashes: Mapping[str, str]) -> None:
    """Check that exactly the sections exist that the JSON part needs, and that every number in them is valid.

    Raises Invalid. `hashes` are the SHA-256 of the sections: a section that this process has checked under the same
    hash is not checked again. The lines of the xdp tables are an exception: the meaning of a line depends on the path
    to it, so the XDP program checks bounds there with each packet (bpf/lookup.h).
    """
    check_intervals(meta, sections)
    checks = _Sections(sections, hashes)
    zones, services = len(meta.zones), len(meta.services)
    for space, values, limit in (("", "zones", zones), ("drawn/", "marks", len(meta.drawn))):
        for family in WIDTH if limit else ():
            checks.check_space(f"{space}ipv{family}", values, limit)
    for name in ("rows", "rows_embedded"):
        checks.check(_numbers, name, bounds=(len(meta.rows), zones * services))
    for service in meta.services:
        _check_maps(service, sections, checks)
    if "xdp/limit" in sections:
        checks.check(_line_of_text, "xdp/limit")
    elif "xdp/lines" in sections:
        checks.check(_lines, "xdp/lines")
        count = len(sections["xdp/lines"]) // LINE_BYTES
        for family in WIDTH:
            checks.check(_root, f"xdp/ipv{family}", bounds=(count, zones))
        checks.check(_children, "xdp/children", bounds=(count,))
        checks.check(_digest, "xdp/digest")
    if unknown := sections.keys() - checks.taken:
        raise Invalid("is a section that nothing reads").inside(shown(min(unknown)))


def _check_maps(service: ServiceSpec, sections: Mapping[str, memoryview], checks: _Sections) -> None:
    """Check the sections of a service's nftables maps."""
    for family, width in WIDTH.items():
        prefix = f"nft/{service.name}/ipv{family}"
        checks.check(_numbers, f"{prefix}/targets", bounds=(len(service.targets),))
        count = len(sections[f"{prefix}/targets"]) // 2
        checks.check(_intervals, f"{prefix}/ends", f"{prefix}/starts", bounds=(width, count))
        if service.counted:
            prefix += "/counted"
            checks.check(_numbers, f"{prefix}/classes", bounds=(len(service.counted),))
            count = len(sections[f"{prefix}/classes"]) // 2
            checks.check(_intervals, f"{prefix}/ends", f"{prefix}/starts", bounds=(width, count))


class OversizedError(Invalid):
    """The ruleset is not damaged, but larger than what should be loaded into a kernel."""


def check_intervals(meta: Meta, sections: Mapping[str, Sized]) -> None:
    """Check that a kernel has room for the nftables maps. Raises OversizedError."""
    total = 0
    for service in meta.services:
        for family in WIDTH:
            name = f"nft/{service.name}/ipv{family}"
            for values in ("targets", "counted/classes"):
                count = len(sections.get(f"{name}/{values}", b"")) // 2
                if count > MAX_INTERVALS:
                    raise OversizedError(f"{count:,} intervals, {MAX_INTERVALS:,} is the most").inside(name)
                total += count
    if total > MAX_INTERVALS_IN_ALL:
        raise OversizedError(f"{total:,} intervals in all maps, {MAX_INTERVALS_IN_ALL:,} is the most").inside("nft")


_right: dict[tuple[object, ...], None] = {}
"""Checks that passed: the check, its bounds, and the SHA-256 of the sections it was applied to."""

MAX_RIGHT = 1_024


class _Sections:
    """Checks each section once; `taken` are the names of the sections checked so far."""

    def __init__(self, sections: Mapping[str, memoryview], hashes: Mapping[str, str]) -> None:
        self._sections, self._hashes = sections, hashes
        self.taken: set[str] = set()

    def check_space(self, prefix: str, values: str, limit: int) -> None:
        """Check the intervals of a whole family, which `prefix` ends with, and that their numbers are below a limit."""
        self.check(_numbers, f"{prefix}/{values}", bounds=(limit,))
        count = len(self._sections[f"{prefix}/{values}"]) // 2
        self.check(_boundaries, f"{prefix}/starts", bounds=(WIDTH[int(prefix[-1])], count))

    def check(self, check: Callable[..., None], *names: str, bounds: tuple[int, ...] = ()) -> None:
        """Apply a check to sections. Raises Invalid; its place is the first of `names`."""
        for name in names:
            if name not in self._sections:
                raise Invalid("is missing").inside(name)
        self.taken.update(names)
        key = (check, *bounds, *(self._hashes[name] for name in names))
        if key in _right:
            return
        try:
            check(*(self._sections[name] for name in names), *bounds)
        except Invalid as invalid:
            raise invalid.inside(names[0]) from None
        while len(_right) >= MAX_RIGHT:
            del _right[next(iter(_right))]
        _right[key] = None


def _numbers(section: memoryview, limit: int, count: int | None = None) -> None:
    """Check that a section holds 16-bit numbers below a limit."""
    if len(section) % 2 or (count is not None and len(section) != 2 * count):
        raise Invalid(f"{len(section):,} bytes" + ("" if count is None else f", not {2 * count:,}"))
    if not all_below(limit, section):
        raise Invalid(f"a number is not below {limit:,}")


def _boundaries(starts: memoryview, width: int, count: int) -> None:
    """Check the first addresses of intervals that cover a whole family."""
    if len(starts) != count * width or not count:
        raise Invalid(f"{len(starts):,} bytes for {count:,} intervals")
    order: Order = "little" if width == WIDTH[4] else "big"
    if any(starts[:width]) or not below(starts[: len(starts) - width], starts[width:], width, order):
        raise Invalid("addresses are not ascending from 0")


def _intervals(ends: memoryview, starts: memoryview, width: int, count: int) -> None:
    """Check the intervals of an nftables map: ascending, disjoint; only the last may end where the family ends."""
    if not len(starts) == len(ends) == count * width:
        raise Invalid(f"{len(ends):,} bytes, and {len(starts):,} of starts, for {count:,} intervals")
    # The end of the family is written as zeroes, so only the last interval may have it.
    whole = len(ends) - (width if count and not any(ends[-width:]) else 0)
    if not below(starts[:whole], ends[:whole], width, "big"):
        raise Invalid("an interval ends before it starts")
    if count and not below(ends[: len(ends) - width], starts[width:], width, "big", strictly=False):
        raise Invalid("an interval starts before the previous one ends")


def _line_of_text(section: memoryview) -> None:
    if len(section) > MAX_LIMIT or not bytes(section).isascii() or not bytes(section).decode().isprintable():
        raise Invalid("is no line of text")


def _lines(section: memoryview) -> None:
    if len(section) % LINE_BYTES or not 0 < len(section) <= MAX_LINES * LINE_BYTES:
        raise Invalid(f"{len(section):,} bytes are no lines, or too many")


def _root(section: memoryview, lines: int, zones: int) -> None:
    """Check a root table: a word for each value of an address's first 16 bits, a zone or the number of a line."""
    if len(section) != ROOT_BYTES:
        raise Invalid(f"{len(section):,} bytes, not {ROOT_BYTES:,}")
    if not all(word & WORD_LINE < lines if word & MORE else word < zones for word in set(section.cast("I"))):
        raise Invalid("a word leads nowhere")


def _children(section: memoryview, lines: int) -> None:
    if len(section) % ENTRY_BYTES or len(section) > MAX_CHILDREN * ENTRY_BYTES:
        raise Invalid(f"{len(section):,} bytes are no entries, or too many")
    if max(array("I", bytes(section))[::2], default=-1) >= lines:
        raise Invalid("an entry leads nowhere")


def _digest(section: memoryview) -> None:
    if len(section) != DIGEST_BYTES:
        raise Invalid(f"{len(section):,} bytes, not {DIGEST_BYTES}")
