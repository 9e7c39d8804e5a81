# SPDX-License-Identifier: Apache-2.0
"""Encode a ruleset as the bytes of a generation: the policy map, and positions in the tables. Pure, without numpy."""

from __future__ import annotations

import itertools
from array import array
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from geodrop.errors import UnavailableError
from geodrop.ruleset.ramp import seed, share_at
from geodrop.xdp import layout as lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from geodrop.ruleset.model import Ruleset, ServiceSpec

TCP, UDP = 6, 17
VERDICTS = {"accept": lay.ROW_ACCEPT, "embedded": lay.ROW_EMBEDDED}
NANOSECONDS = 1_000_000_000


def label(service: str, name: str = "") -> str:
    """Name a counter pair: what a service drops under `name`; or, without a name, what it accepts and never drops."""
    return f"{service}\t{name}"


EXEMPTED = "exempted"
"""The name under which a service counts what passes because its source is exempt: no region or list has it."""

TOO_DEEP = label("", "unreadable")
"""The only counter pair without a service. Behind too many tags, neither a frame's source nor its
service can be read.
"""


class Clock(NamedTuple):
    """The clock that `starts` is encoded for.

    `tai_offset` is how many seconds CLOCK_TAI is ahead of CLOCK_REALTIME. `now`, in seconds since the epoch, is set
    only where programs cannot read the time. There a past `starts` is left out, so the clock must not be set back
    before it.
    """

    tai_offset: int
    now: float | None = None


class Encoded(NamedTuple):
    """The content of a policy map: a struct policy, and, from element 1 on, the rows."""

    policy: bytearray
    rows: array[int]

    def parts(self) -> tuple[tuple[int, memoryview], tuple[int, memoryview]]:
        """Return offsets in the map and the bytes to write there, without the unused end of struct policy."""
        return (
            (0, memoryview(self.policy)[: lay.PolicyLayout.unused.offset]),
            (lay.POLICY_BYTES, memoryview(self.rows).cast("B")),
        )


class TablePosition(NamedTuple):
    """A section of the ruleset and the offset of its bytes in the tables map."""

    section: str
    offset: int


TABLE_PLACES = (
    TablePosition("xdp/ipv4", 0),
    TablePosition("xdp/ipv6", lay.ROOT_BYTES),
    TablePosition("xdp/children", 2 * lay.ROOT_BYTES),
    TablePosition("xdp/lines", lay.SEGMENT_BYTES),
)


def table_parts(ruleset: Ruleset) -> Iterator[tuple[str, int, memoryview]]:
    """Yield everything that a tables map holds: the section's name, the offset in bytes, and the bytes."""
    for place in TABLE_PLACES:
        yield place.section, place.offset, ruleset.sections[place.section]


def labels_of(ruleset: Ruleset) -> list[str]:
    """Return the labels of all counter pairs that a ruleset needs, in a fixed order."""
    meta = ruleset.meta
    count = len(meta.services)
    labels = [TOO_DEEP]
    wire, inside = _row_numbers(ruleset)
    for number, service in enumerate(meta.services):
        used = {*wire[number::count], *inside[number::count]}
        dropped = {meta.rows[row].klass for row in used if meta.rows[row].verdict == "drop"}
        prefix = label(service.name)
        labels += [prefix, prefix + EXEMPTED, *(prefix + meta.classes[klass] for klass in sorted(dropped))]
    return labels


def tables_digest(ruleset: Ruleset) -> bytes:
    """Return the digest of the tables' bytes: generations with the same digest can share a tables map."""
    return bytes(ruleset.sections["xdp/digest"])


def segments_needed(ruleset: Ruleset) -> int:
    """Return the number of elements of the tables map: the index and the lines."""
    lines = len(ruleset.sections["xdp/lines"]) // lay.LINE_BYTES
    return 1 + -(-lines // lay.SEGMENT_LINES)


def elements_needed(ruleset: Ruleset) -> int:
    """Return the number of elements of the policy map: the policy and the rows."""
    return 1 + -(-_row_count(ruleset) // lay.ELEMENT_ROWS)


def check_limits(ruleset: Ruleset) -> None:
    """Raise UnavailableError if the ruleset exceeds a limit of the program that nftables does not have."""
    services = len(ruleset.meta.services)
    if services > lay.MAX_SERVICES:
        raise UnavailableError(
            f"the ruleset has {services} services, {lay.MAX_SERVICES} is the most on xdp", "use --engine nftables"
        )


def encode_policy(ruleset: Ruleset, generation: int, pairs: Mapping[str, int], clock: Clock, tables: bytes) -> Encoded:
    """Return what a policy map should hold. Raises UnavailableError if a limit is exceeded."""
    check_limits(ruleset)
    meta = ruleset.meta
    content = bytearray(lay.POLICY_BYTES)
    policy = lay.PolicyLayout.from_buffer(content)
    policy.digest[:] = bytes.fromhex(ruleset.digest)
    policy.tables_digest[:] = tables
    policy.generation = generation
    policy.version = lay.LAYOUT_VERSION
    policy.zones, policy.services = len(meta.zones), len(meta.services)
    policy.row_bits = _row_bits(ruleset)
    for number, service in enumerate(meta.services):
        _encode_service(policy.service[number], service, pairs, clock)
        if policy.service[number].starts or policy.service[number].flags & lay.SERVICE_RAMP_TIMED:
            policy.tai_offset = clock.tai_offset
    policy.too_deep = pairs[TOO_DEEP]
    _encode_selections(policy, content, ruleset)
    _encode_local(policy, meta.services)
    return Encoded(content, _encode_rows(ruleset, pairs))


def future_starts(ruleset: Ruleset, now: float) -> bool:
    """Tell whether an enforced service starts, or drops a larger share, after `now`: then the program needs the
    kernel's clock.
    """
    return any(
        service.mode == "enforce" and max(service.starts or 0, *(moment for moment, _ in service.ramp), 0) > now
        for service in ruleset.meta.services
    )


def _row_bits(ruleset: Ruleset) -> int:
    return max(len(ruleset.meta.services) - 1, 0).bit_length()


def _encode_service(target: lay.ServiceLayout, service: ServiceSpec, pairs: Mapping[str, int], clock: Clock) -> None:
    target.flags = (lay.SERVICE_ENFORCE if service.mode == "enforce" else 0) | (
        lay.SERVICE_KEEP if service.established == "keep" else 0
    )
    target.pair = pairs[label(service.name)]
    target.exempted = pairs[label(service.name, EXEMPTED)]
    if service.starts is not None and (clock.now is None or service.starts > clock.now):
        target.starts = (service.starts + clock.tai_offset) * NANOSECONDS
    if service.ramp:
        _encode_ramp(target, service, clock)


def _encode_ramp(target: lay.ServiceLayout, service: ServiceSpec, clock: Clock) -> None:
    """Write the steps; where programs cannot read the time, the one step that counts now."""
    steps = service.ramp if clock.now is None else ((0, share_at(service.ramp, clock.now)),)
    target.flags |= lay.SERVICE_RAMP
    target.seed = seed(service.name)
    for number in range(lay.MAX_STEPS):
        moment, share = steps[number] if number < len(steps) else (0, 0)
        if moment:
            target.flags |= lay.SERVICE_RAMP_TIMED
        at = (moment + clock.tai_offset) * NANOSECONDS if moment else 0
        target.step[number] = lay.StepLayout(at if number < len(steps) else lay.STEP_NEVER, share)


def _row_count(ruleset: Ruleset) -> int:
    return len(ruleset.meta.zones) * 2 << _row_bits(ruleset)


def _encode_rows(ruleset: Ruleset, pairs: Mapping[str, int]) -> array[int]:
    meta = ruleset.meta
    rows = array("I", bytes(4 * _row_count(ruleset)))
    count, step = len(meta.services), 2 << _row_bits(ruleset)
    special = [
        (number, zone) for number, zone in enumerate(meta.zones) if zone.never_drop is not None or zone.embedding
    ]
    numbers = _row_numbers(ruleset)
    for number, service in enumerate(meta.services):
        words = _row_words(ruleset, service.name, pairs)
        wire, inside = (array("I", map(words.__getitem__, column[number::count])) for column in numbers)
        for at, zone in special:
            word = wire[at] if zone.never_drop is None else lay.ROW_NEVER_DROP
            wire[at] = word | (lay.ROW_HOLDS_IPV4 if zone.embedding else 0)
        rows[number::step] = wire
        rows[step // 2 + number :: step] = inside
    return rows


def _row_numbers(ruleset: Ruleset) -> tuple[array[int], array[int]]:
    """Return the row number of each zone and service, for the address on the wire and for an embedded address."""
    wire, inside = array("H"), array("H")
    wire.frombytes(ruleset.sections["rows"])
    inside.frombytes(ruleset.sections["rows_embedded"])
    return wire, inside


def _row_words(ruleset: Ruleset, service: str, pairs: Mapping[str, int]) -> list[int]:
    """Return each row of the ruleset as the program's row word, for one service."""
    # A row that this service does not use may name a class without a counter pair; such a word is never read.
    prefix = label(service)
    own = [pairs.get(prefix + name, 0) << lay.ROW_PAIR_SHIFT | lay.ROW_DROP for name in ruleset.meta.classes]
    return [own[row.klass] if row.verdict == "drop" else VERDICTS[row.verdict] for row in ruleset.meta.rows]


class _Chosen(NamedTuple):
    services: int
    never_drop: bool
    every: bool


def _encode_selections(policy: lay.PolicyLayout, content: bytearray, ruleset: Ruleset) -> None:
    """Number the distinct sets of services that ports and protocols lead to; `content` is the policy as bytes."""
    meta = ruleset.meta
    bits = list(enumerate(meta.services))
    enforced = _mask(bits, lambda one: one.mode == "enforce" and not one.catch_all)
    catch_all = _mask(bits, lambda one: one.catch_all)
    named = _mask(bits, lambda one: bool(one.addresses))
    policy.enforced, policy.catch_all = enforced, catch_all
    numbers: dict[_Chosen, int] = {}

    def number(services: int, *, never_drop: bool = False, every: bool = False) -> int:
        local = bool(services & named)
        if every or not (local or services & enforced):
            services |= catch_all
        chosen = _Chosen(services, never_drop, every)
        at = numbers.setdefault(chosen, len(numbers))
        if at >= lay.MAX_SELECTIONS:
            raise UnavailableError(
                f"the services' ports overlap in more than {lay.MAX_SELECTIONS} ways, which is the most on xdp",
                "use --engine nftables",
            )
        selection = policy.selection[at]
        selection.services = services
        selection.single = services.bit_length() - 1 if services.bit_count() == 1 else lay.NO_SERVICE
        selection.flags = (
            (lay.SELECTION_LOCAL if local else 0)
            | (lay.SELECTION_NEVER_DROP if never_drop else 0)
            | (lay.SELECTION_EVERY if every else 0)
        )
        return at

    # All protocols that no service names are alike, so one of them stands for all.
    named_protocols = {TCP, UDP, *(protocol for one in meta.services for protocol in one.protocols)}
    for other in itertools.islice(itertools.filterfalse(named_protocols.__contains__, range(256)), 1):
        _fill(_bytes_of(content, "by_protocol"), 0, 256, number(_whole(bits, other)))
    for protocol in sorted(named_protocols):
        policy.by_protocol[protocol] = number(_whole(bits, protocol))
    # An unreadable packet is judged by each service that it might be for.
    policy.by_unreadable[lay.UNREADABLE_PROTOCOL] = number((1 << len(bits)) - 1, every=True)
    for unreadable, protocol in ((lay.UNREADABLE_TCP, TCP), (lay.UNREADABLE_UDP, UDP)):
        by_port = sum(1 << at for at, one in bits if _ports(one, protocol))
        policy.by_unreadable[unreadable] = number(_whole(bits, protocol) | by_port, every=True)
    for protocol, never, target in (
        (TCP, meta.never_drop_tcp, _bytes_of(content, "by_tcp_port")),
        (UDP, meta.never_drop_udp, _bytes_of(content, "by_udp_port")),
    ):
        whole = _whole(bits, protocol)
        ranges = [(_ports(one, protocol), 1 << at) for at, one in bits]
        edges = {0, 65536}
        for some, _ in [*ranges, (never, 0)]:
            edges |= {edge for first, last in some for edge in (first, last + 1)}
        cuts = sorted(edges)
        for first, end in itertools.pairwise(cuts):
            services = whole | sum(bit for some, bit in ranges if _covers(some, first) and not whole & bit)
            value = number(services, never_drop=_covers(never, first))
            _fill(target, first, end, value)


def _bytes_of(content: bytearray, name: str) -> memoryview:
    """Return an array of bytes inside a policy, without a copy."""
    field = getattr(lay.PolicyLayout, name)
    return memoryview(content)[field.offset : field.offset + field.size]


def _fill(target: memoryview, first: int, end: int, value: int) -> None:
    """Set part of an array to one value. Raises ValueError if the array has no such part."""
    if not 0 <= first < end <= len(target):
        raise ValueError(f"{first} to {end} is no part of {len(target):,} bytes")
    target[first:end] = bytes([value]) * (end - first)


def _whole(services: Iterable[tuple[int, ServiceSpec]], protocol: int) -> int:
    """Return the mask of services with a match that take every packet of a protocol, whatever the port."""
    return _mask(
        services,
        lambda one: not one.catch_all and (protocol in one.protocols or not (one.tcp or one.udp or one.protocols)),
    )


def _ports(service: ServiceSpec, protocol: int) -> Sequence[tuple[int, int]]:
    return service.tcp if protocol == TCP else service.udp


def _mask(services: Iterable[tuple[int, ServiceSpec]], wanted: Callable[[ServiceSpec], bool]) -> int:
    return sum(1 << number for number, service in services if wanted(service))


def _covers(ranges: Iterable[tuple[int, int]], port: int) -> bool:
    return any(first <= port <= last for first, last in ranges)


def _encode_local(policy: lay.PolicyLayout, services: Sequence[ServiceSpec]) -> None:
    """Cut each family into ranges of local addresses with the same set of services."""
    for family, target in ((4, policy.local_ipv4), (6, policy.local_ipv6)):
        width = 128
        shift = 96 if family == 4 else 0
        ranges = [
            (int(network.network_address) << shift, (int(network.broadcast_address) + 1) << shift, 1 << number)
            for number, service in enumerate(services)
            for network in map(ip_network, service.addresses)
            if network.version == family
        ]
        anywhere = sum(1 << number for number, service in enumerate(services) if not service.addresses)
        cuts = sorted({0, *(edge for first, end, _ in ranges for edge in (first, end) if edge < 1 << width)})
        if len(cuts) > lay.MAX_LOCAL:
            raise UnavailableError(
                f"the services' addresses make {len(cuts)} ranges in IPv{family}, {lay.MAX_LOCAL} is the most on xdp",
                "use --engine nftables",
            )
        for at, start in enumerate(cuts):
            taking = {bit for first, end, bit in ranges if first <= start < end}
            target[at] = lay.LocalLayout(start >> 64, start & 0xFFFF_FFFF_FFFF_FFFF, anywhere | sum(taking))
        # The search covers all elements, so the unused ones repeat the last range.
        target[len(cuts) :] = [target[len(cuts) - 1]] * (lay.MAX_LOCAL - len(cuts))
