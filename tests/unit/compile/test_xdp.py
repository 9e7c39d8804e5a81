# SPDX-License-Identifier: Apache-2.0
"""The XDP tables give every address the zone that its partition gives it."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geodrop.compile import xdp
from geodrop.geo.partition import Partition, constant, encode

if TYPE_CHECKING:
    import pytest

    from geodrop.compile.zones import Zones

ZONES = 40
MAX_LINE = (1 << xdp.WORD_LINE_BITS) - 1


def zones(ipv4: Partition, ipv6: Partition) -> Zones:
    """The part of Zones that the tables are built from."""
    return cast("Zones", SimpleNamespace(ipv4=ipv4, ipv6=ipv6, keys=range(ZONES)))


def partition(family: int, starts: set[int], seed: int) -> Partition:
    """Return intervals with these starts and random zones."""
    ordered = sorted(starts | {0})
    values = np.random.default_rng(seed).integers(0, ZONES, len(ordered)).astype(np.int32)
    return Partition(family, encode(family, ordered), values)


def look_up(tables: xdp.Tables, family: int, address: int) -> int:
    """Look up an address as the XDP program does, step by step (bpf/lookup.h)."""
    high, low = (address << 32, 0) if family == 4 else (address >> 64, address & (1 << 64) - 1)
    bits = xdp.NODE_BITS[family]
    width = 64 - xdp.ROOT_BITS - bits
    word = int(tables.roots[family][high >> 48])
    if not word & xdp.MORE:
        return word
    node = tables.lines.view(np.uint32)[16 * (word & MAX_LINE) :]
    word = int(node[high >> width & (1 << bits) - 1])
    if not word & xdp.MORE:
        return word
    bits = word >> xdp.WORD_LINE_BITS & 15
    entry = {"line": word & MAX_LINE, "bits": bits, "shift": width - bits, "lower": 0}
    for _ in range(xdp.MAX_DEPTH + 1):
        key, shift = (low if entry["lower"] else high), int(entry["shift"])
        line = tables.lines[int(entry["line"]) + (key >> shift & (1 << int(entry["bits"])) - 1)]
        wanted = (key & (1 << shift) - 1) >> max(shift - xdp.KEY_BITS, 0)
        value = int(line["values"][int((line["keys"] <= wanted).sum())])
        if not value & xdp.CHILD:
            return value
        entry = tables.children[int(line["children"]) + (value & xdp.CHILD - 1)]
    raise AssertionError("too deep")


def assert_same(tables: xdp.Tables, given_: Partition) -> None:
    """Check that tables and partition agree at every boundary, just before it, and at the end of the family."""
    width = 32 if given_.family == 4 else 128
    starts = [int(x) for x in given_.starts] if width == 32 else _integers(given_)
    for start, value, before in zip(starts, given_.values, [None, *given_.values[:-1]], strict=True):
        assert look_up(tables, given_.family, start) == value, hex(start)
        if before is not None:
            assert look_up(tables, given_.family, start - 1) == before, hex(start)
    assert look_up(tables, given_.family, (1 << width) - 1) == given_.values[-1]


def _integers(given_: Partition) -> list[int]:
    packed = np.ascontiguousarray(given_.starts).tobytes()
    return [int.from_bytes(packed[at : at + 16], "big") for at in range(0, len(packed), 16)]


def near(bits: int) -> st.SearchStrategy[set[int]]:
    """Draw boundaries close to a few places, at every distance."""
    place = st.sampled_from([0, 1 << bits - 1, 0x20 << bits - 8, (1 << bits) - 1])
    offset = st.builds(lambda exponent, factor: factor << exponent, st.integers(0, bits - 1), st.integers(0, 40))
    address = st.builds(lambda one, two: (one + two) % (1 << bits), place, offset)
    return st.sets(address, max_size=60)


@settings(max_examples=60, deadline=None)
@given(near(32), near(128), st.integers(0, 1000))
def test_any_partition(ipv4: set[int], ipv6: set[int], seed: int) -> None:
    """Dense and sparse boundaries, down to single addresses, are looked up correctly in both families."""
    four, six = partition(4, ipv4, seed), partition(6, ipv6, seed + 1)
    tables = xdp.build_tables(zones(four, six))
    assert_same(tables, four)
    assert_same(tables, six)


def test_many_single_addresses() -> None:
    """A list of 20,000 random addresses, and a list of every other address of a /20, are looked up correctly."""
    chosen = np.random.default_rng(1)
    singles = {int(one) for one in chosen.integers(0, 1 << 32, 20_000)}
    starts = singles | {one + 1 for one in singles if one + 1 < 1 << 32} | set(range(10 << 24, (10 << 24) + 4096))
    four = partition(4, starts, 3)
    tables = xdp.build_tables(zones(four, constant(6, 7)))
    assert_same(tables, four)
    assert look_up(tables, 6, 1 << 127) == 7


def test_the_same_partitions_give_the_same_sections() -> None:
    """The tables are deterministic, and their digest differs for different tables."""
    four, six = partition(4, {1 << 24, 5 << 20}, 1), partition(6, {1 << 125}, 1)
    one, two = (xdp.build_tables(zones(four, six)).sections() for _ in range(2))
    assert one == two
    other = xdp.build_tables(zones(four, constant(6, 1))).sections()
    assert other["xdp/digest"] != one["xdp/digest"]


def test_a_limit_that_is_passed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a limit is exceeded, figure and limit are recorded in place of the tables; nftables still works."""
    monkeypatch.setattr(xdp, "MAX_CHILDREN", 0)
    sections = xdp.build_tables(zones(constant(4, 1), partition(6, {1}, 1))).sections()
    assert list(sections) == ["xdp/limit"]
    assert re.fullmatch(rb"the address space needs \d+ table entries, 0 is the most", sections["xdp/limit"])
