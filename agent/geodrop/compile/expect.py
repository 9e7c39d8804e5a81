# SPDX-License-Identifier: Apache-2.0
"""Run the tests of a policy (`expect`) on what was compiled: on the intervals and rows that the ruleset will hold.

A test asks the ladder, so whether packets would be dropped, whatever `mode` and `starts` say. It holds if it holds for
every address of its prefix. An IPv6 address that embeds an IPv4 one is judged as a packet from it would be. A test of a
region asks the databases, with corrections applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geodrop.document.problems import ProblemReport
from geodrop.document.tree import LINE_BREAK
from geodrop.geo.partition import BITS, DTYPE, Partition, encode
from geodrop.geo.world import EMBEDDINGS, SPECIAL
from geodrop.policy.countries import UNKNOWN, Region
from geodrop.policy.model import Aim, Rung
from geodrop.policy.spans import span
from geodrop.ruleset.model import CompiledTest, Embedding
from geodrop.ruleset.prefixes import prefixes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from geodrop.document.problems import Problem
    from geodrop.geo.world import RegionMap
    from geodrop.policy.model import Policy, PolicyTest
    from geodrop.ruleset.container import Content
    from geodrop.ruleset.model import Meta, Row

    Bools = npt.NDArray[np.bool_]

FAMILIES = (4, 6)
NEXT_STEP = "correct it or drop the test"
PASSIVE = {Aim.ACCEPT: "dropped", Aim.DROP: "accepted"}
"""What happens to addresses of a test that fails."""
SMALL = 0.001

_KEYS = {"accept": "allow", "drop": "deny"}
_BARE = frozenset({Rung.NEVER_DROP, Rung.SPECIAL, Rung.UNKNOWN, Rung.DEFAULT})
"""Rungs whose line says by itself what it does, as `default: deny`; others name a region, list or prefix."""


def compiled_tests(policy: Policy) -> tuple[CompiledTest, ...]:
    """Return the tests of a policy as the ruleset records them."""
    return tuple(
        CompiledTest(service.name, test.aim, str(test.network), test.region, test.place.line)
        for service in policy.services
        for test in service.expect
    )


def failed_tests(policy: Policy, meta: Meta, sections: Mapping[str, Content], region_map: RegionMap) -> list[Problem]:
    """Return a problem for each test that does not hold, in the order of the file."""
    report = ProblemReport(policy.file, LINE_BREAK.split(policy.text))
    if not meta.tests:
        return []
    zones = {family: _partition(sections, family) for family in FAMILIES}
    regions = {4: region_map.ipv4, 6: region_map.ipv6}
    asked_regions: dict[str, _Asked] = {}
    for number, service in enumerate(policy.services):
        if not service.expect:
            continue
        rows = _rows_of(meta, sections, number)
        verdicts = {aim: _asked_verdict(meta, rows, aim) for aim in PASSIVE}
        for test in service.expect:
            if test.region is None:
                failure = _failure(zones, verdicts[test.aim], test)
                said = _about_verdict(meta, rows, test, failure) if failure else ""
            else:
                if test.region not in asked_regions:
                    asked_regions[test.region] = _asked_region(region_map.regions, test.region)
                failure = _failure(regions, asked_regions[test.region], test)
                said = _about_region(region_map.regions, test, failure) if failure else ""
            if said:
                report.error(test.place, f"expect {test.aim}: {said}; {NEXT_STEP}")
    return report.problems()


class _Rows(NamedTuple):
    """The row of each zone for one service, for an address in the packet and for one embedded in IPv6."""

    wire: Sequence[Row]
    embedded: Sequence[Row]


class _Asked(NamedTuple):
    """What a test asks of the values of a partition: tables indexed by value, bool (values,).

    `wrong` says whether an address in the packet fails the test, `inside` the same of an IPv4 address embedded in IPv6.
    `follow` says whether the embedded address is judged in place of the one in the packet, `embedding` how it is
    embedded.
    """

    wrong: Bools
    inside: Bools
    follow: Bools
    embedding: Mapping[int, Embedding]


class _Failure(NamedTuple):
    """A test that does not hold: the value and bounds of the first run of addresses that fail, and how many do.

    `embedded` says that the run is of IPv4 addresses inside the IPv6 ones. `whole` says that every address fails, and
    `alike` that all of them have this value. `number` is None if it is not known: where embedded addresses are among
    those that fail.
    """

    value: int
    first: int
    last: int
    embedded: bool
    whole: bool
    alike: bool
    number: int | None


def _partition(sections: Mapping[str, Content], family: int) -> Partition:
    starts = np.frombuffer(sections[f"ipv{family}/starts"], DTYPE[family])
    zones = np.frombuffer(sections[f"ipv{family}/zones"], "<u2")
    return Partition(family, starts, zones.astype(np.int32))


def _rows_of(meta: Meta, sections: Mapping[str, Content], service: int) -> _Rows:
    shape = (len(meta.zones), len(meta.services))
    columns = (np.frombuffer(sections[name], "<u2").reshape(shape)[:, service] for name in ("rows", "rows_embedded"))
    return _Rows(*([meta.rows[number] for number in column.tolist()] for column in columns))


def _asked_verdict(meta: Meta, rows: _Rows, aim: Aim) -> _Asked:
    return _Asked(
        np.array([row.verdict not in (aim, "embedded") for row in rows.wire], dtype=bool),
        np.array([row.verdict != aim for row in rows.embedded], dtype=bool),
        np.array([row.verdict == "embedded" for row in rows.wire], dtype=bool),
        {
            zone: Embedding(meta.zones[zone].embedding or "")
            for zone, row in enumerate(rows.wire)
            if row.verdict == "embedded"
        },
    )


def _asked_region(regions: Sequence[Region], wanted: str) -> _Asked:
    # Negative values, for special and embedding addresses, index from the end of a table.
    marks = range(min(EMBEDDINGS), 0)
    outside = [not _is_in(region, wanted) for region in regions]
    return _Asked(
        np.array([*outside, *(mark == SPECIAL for mark in marks)], dtype=bool),
        np.array([*outside, *(not _is_in(UNKNOWN, wanted) for _ in marks)], dtype=bool),
        np.array([*(False for _ in regions), *(mark != SPECIAL for mark in marks)], dtype=bool),
        {mark: Embedding(name) for mark, name in EMBEDDINGS.items()},
    )


def _is_in(region: Region, wanted: str) -> bool:
    if wanted.startswith("continent:"):
        return f"continent:{region.continent}" == wanted
    if wanted == str(UNKNOWN):
        return region == UNKNOWN
    return wanted in (region.country, *region.subdivisions)


def _failure(space: Mapping[int, Partition], asked: _Asked, test: PolicyTest) -> _Failure | None:
    """Return how a test fails; None if it holds."""
    first, last = span(test.network)
    partition = space[test.network.version]
    low, high = _between(partition, first, last)
    values = partition.values[low:high]
    wrong = asked.wrong[values]
    runs: dict[int, tuple[int, int, int, bool]] = {}
    for at in np.flatnonzero(asked.follow[values]).tolist():
        begin, end = _bounds(partition, low + at, first, last)
        if run := _inside(space[4], asked, asked.embedding[int(values[at])], begin, end):
            runs[at] = run
            wrong[at] = True
    if not wrong.any():
        return None
    at = int(wrong.argmax())
    whole = bool(wrong.all()) and all(whole for *_, whole in runs.values())
    if at in runs:
        value, begin, end, _ = runs[at]
        return _Failure(value, begin, end, embedded=True, whole=whole, alike=first == last, number=None)
    begin, end = _bounds(partition, low + at, first, last)
    number = None if runs else _count(partition, low, wrong, first, last)
    alike = bool((values == values[0]).all())
    return _Failure(int(values[at]), begin, end, embedded=False, whole=whole, alike=alike, number=number)


def _inside(
    ipv4: Partition, asked: _Asked, embedding: Embedding, first: int, last: int
) -> tuple[int, int, int, bool] | None:
    """Return value and bounds of the first run of embedded addresses that fail, and whether all do; None if none."""
    found, whole = None, True
    for begin, end in held(embedding, first, last):
        low, high = _between(ipv4, begin, end)
        values = ipv4.values[low:high]
        wrong = asked.inside[values]
        whole = whole and bool(wrong.all())
        if found is None and wrong.any():
            at = int(wrong.argmax())
            found = int(values[at]), *_bounds(ipv4, low + at, begin, end)
    return None if found is None else (*found, whole)


def held(embedding: Embedding, first: int, last: int) -> list[tuple[int, int]]:
    """Return the IPv4 addresses, as inclusive ranges, embedded in the IPv6 addresses from first to last.

    All addresses of the range embed in this way.
    """
    if embedding is Embedding.SIXTOFOUR or first >> 32 == last >> 32:
        ends = embedding.extract(first), embedding.extract(last)
        return [(min(ends), max(ends))]
    # The address is in the low 32 bits, so it starts again whenever the bits above change.
    if (last >> 32) - (first >> 32) > 1:
        return [(0, (1 << 32) - 1)]
    middle = last >> 32 << 32
    return held(embedding, first, middle - 1) + held(embedding, middle, last)


def _between(partition: Partition, first: int, last: int) -> tuple[int, int]:
    """Return the numbers of the intervals that hold the addresses from first to last; the end is exclusive."""
    low, high = partition.starts.searchsorted(encode(partition.family, [first, last]), side="right").tolist()
    return low - 1, high


def _start(partition: Partition, number: int) -> int:
    if number == len(partition):
        return 1 << BITS[partition.family]
    if partition.family == 4:
        return int(partition.starts[number])
    return int.from_bytes(partition.starts[number : number + 1].tobytes(), "big")


def _bounds(partition: Partition, number: int, first: int, last: int) -> tuple[int, int]:
    """Return the bounds of an interval as far as it lies between first and last."""
    return max(first, _start(partition, number)), min(last, _start(partition, number + 1) - 1)


def _count(partition: Partition, low: int, wrong: Bools, first: int, last: int) -> int:
    """Return how many addresses from first to last lie in the intervals, from number `low` on, that are wrong."""
    edges = np.flatnonzero(np.diff(wrong, prepend=False, append=False)) + low
    bounds = [min(max(_start(partition, number), first), last + 1) for number in edges.tolist()]
    return sum(bounds[1::2]) - sum(bounds[0::2])


def _about_verdict(meta: Meta, rows: _Rows, test: PolicyTest, failure: _Failure) -> str:
    row = (rows.embedded if failure.embedded else rows.wire)[failure.value]
    zone = meta.zones[failure.value]
    region = str(UNKNOWN) if failure.embedded and zone.special else zone.region
    line = row.line if row.rung in _BARE else f"{_KEYS[row.verdict]}: {row.line}"
    where = f"{line} ({meta.policy_name}:{row.at})" if row.at else line
    who = "" if region is None or row.rung == Rung.UNKNOWN else f"{region}, "
    part = "" if failure.whole else f" in part ({_part(test, failure)})"
    inside = f"{_first(test, failure)}, " if failure.whole and failure.embedded else ""
    return f"{test.text} would be {PASSIVE[test.aim]}{part}: {inside}{who}{where}"


def _about_region(regions: Sequence[Region], test: PolicyTest, failure: _Failure) -> str:
    unnamed = str(UNKNOWN) if failure.embedded else "special"
    found = str(regions[failure.value]) if failure.value >= 0 else unnamed
    if not failure.alike:
        return f"{test.text} is not all {test.region} ({_part(test, failure)}: {found})"
    inside = f" ({_first(test, failure)})" if failure.embedded else ""
    return f"{test.text} is {found}{inside}, not {test.region}"


def _part(test: PolicyTest, failure: _Failure) -> str:
    """Return how much of a prefix fails its test, and the first prefix in it that does."""
    first = f"first {_first(test, failure)}"
    if failure.number is None:
        return first
    if test.network.version == 4:
        return f"{failure.number:,} of {test.network.num_addresses:,} addresses, {first}"
    share = failure.number / test.network.num_addresses
    return f"{f'{share:.1%}' if share >= SMALL else 'less than 0.1%'} of it, {first}"


def _first(test: PolicyTest, failure: _Failure) -> str:
    """Return the first prefix that fails; an address without a length."""
    family = 4 if failure.embedded else test.network.version
    text = next(prefixes(failure.first, failure.last, family)).removesuffix(f"/{BITS[family]}")
    return f"{text} inside it" if failure.embedded else text
