# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.geo.partition import (
    BITS,
    Partition,
    changes,
    combine,
    constant,
    distinct,
    distinct_below,
    encode,
    longest_match,
)
from tests.unit.geo.addresses import address_text, decode

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    Network = IPv4Network | IPv6Network

FAMILIES = st.sampled_from([4, 6])


def addresses(family: int) -> st.SearchStrategy[int]:
    """Draw addresses that often collide or are neighbours: few high bits, few low bits, and both ends."""
    top = 1 << BITS[family]
    return st.one_of(
        st.integers(0, 20),
        st.integers(0, top - 1),
        st.integers(1, 20).map(lambda below: top - below),
        st.integers(0, 7).map(lambda high: high * top // 8),
    )


@st.composite
def partitions(draw: st.DrawFn, family: int) -> Partition:
    """Draw partitions with up to 13 intervals; neighbours may have the same value."""
    starts = sorted({0, *draw(st.lists(addresses(family), max_size=12))})
    values = draw(st.lists(st.integers(-2, 3), min_size=len(starts), max_size=len(starts)))
    return Partition(family, encode(family, starts), np.array(values, dtype=np.int32))


@st.composite
def networks(draw: st.DrawFn, family: int) -> Network:
    """Draw networks of any length, many of them inside each other."""
    length = draw(st.integers(0, BITS[family]))
    shift = BITS[family] - length
    cls = IPv4Address if family == 4 else IPv6Address
    return ip_network((cls(draw(addresses(family)) >> shift << shift), length))


def naive_value(partition: Partition, address: int) -> int:
    """Return the value of the last interval that starts at or before an address."""
    values: list[int] = partition.values.tolist()
    pairs = zip(decode(partition.family, partition.starts), values, strict=True)
    return [value for start, value in pairs if start <= address][-1]


def edges(family: int, starts: list[int]) -> list[int]:
    """Return each start and the address before it, and both ends of the family."""
    top = (1 << BITS[family]) - 1
    return sorted({0, top, *starts, *(start - 1 for start in starts if start)})


@given(FAMILIES.flatmap(lambda family: st.tuples(st.just(family), st.lists(addresses(family)))))
def test_encode_and_decode_are_inverse_and_keep_order(case: tuple[int, list[int]]) -> None:
    """Encoded addresses come back unchanged, and compare as the numbers do."""
    family, numbers = case
    encoded = encode(family, numbers)
    assert decode(family, encoded) == numbers
    assert decode(family, np.sort(encoded)) == sorted(numbers)


@given(FAMILIES.flatmap(lambda family: st.tuples(partitions(family), st.lists(addresses(family)))))
def test_lookup_finds_the_interval(case: tuple[Partition, list[int]]) -> None:
    """Lookup gives the value of the interval around each address, also at its edges, in the order asked."""
    partition, asked = case
    asked = asked + edges(partition.family, decode(partition.family, partition.starts))
    expected = [naive_value(partition, address) for address in asked]
    assert partition.lookup(encode(partition.family, asked)).tolist() == expected
    assert [partition.value_at(address) for address in asked] == expected


@given(FAMILIES.flatmap(partitions))
def test_merged_changes_nothing_but_has_no_equal_neighbours(partition: Partition) -> None:
    """Every address keeps its value, and no two neighbours have the same one."""
    merged = partition.merged()
    assert all(one != other for one, other in zip(merged.values[:-1], merged.values[1:], strict=True))
    for address in edges(partition.family, decode(partition.family, partition.starts)):
        assert merged.value_at(address) == naive_value(partition, address)


@given(st.lists(st.integers(-3, 3), min_size=1))
def test_changes_and_distinct(values: list[int]) -> None:
    """`changes` marks the first of each run of equal values; `distinct` gives the values of a set, in order."""
    array = np.array(values, dtype=np.int32)
    runs = [value for value, _ in groupby(values)]
    assert array[changes(array)].tolist() == runs
    assert distinct(array).tolist() == sorted(set(values))


@given(FAMILIES.flatmap(partitions))
def test_mapped_replaces_values(partition: Partition) -> None:
    """`mapped` looks up each value in the table; negative values count from its end."""
    table = np.array([10, 20, 20, 30, 50, 40], dtype=np.int32)
    mapped = partition.mapped(table)
    for address in edges(partition.family, decode(partition.family, partition.starts)):
        assert mapped.value_at(address) == table[naive_value(partition, address)]
    assert len(mapped) == len(mapped.merged())


@given(FAMILIES.flatmap(lambda family: st.tuples(partitions(family), partitions(family))))
def test_combine_is_the_common_refinement(case: tuple[Partition, Partition]) -> None:
    """`combine` gives the starts of both, each once, and the value that each of the two has there."""
    one, other = case
    family = one.family
    starts, of_one, of_other = combine(one, other)
    expected = sorted({*decode(family, one.starts), *decode(family, other.starts)})
    assert decode(family, starts) == expected
    assert of_one.tolist() == [naive_value(one, start) for start in expected]
    assert of_other.tolist() == [naive_value(other, start) for start in expected]
    assert of_one.dtype == of_other.dtype == np.int32
    assert starts.dtype == one.starts.dtype


@given(FAMILIES.flatmap(lambda family: st.tuples(st.just(family), st.lists(networks(family), max_size=12))))
def test_longest_match_agrees_with_ipaddress(case: tuple[int, list[Network]]) -> None:
    """At every edge of every network, the longest network that holds the address decides, or else `outside`."""
    family, given_networks = case
    numbered = [(network, number) for number, network in enumerate(given_networks)]
    partition = longest_match(family, numbered, -1)
    ends = [int(network.broadcast_address) + 1 for network in given_networks]
    starts = [int(network.network_address) for network in given_networks]
    inside_family = [edge for edge in starts + ends if edge < 1 << BITS[family]]
    for address in edges(family, inside_family):
        text = address_text(family, address)
        holding = [(network.prefixlen, -number) for network, number in numbered if ip_address(text) in network]
        # If a network is given twice, the first counts.
        assert partition.value_at(address) == (-max(holding)[1] if holding else -1), text
    assert len(partition) == len(partition.merged())


def test_longest_match_passes_over_the_other_family() -> None:
    """Networks of both families can be given; those of the other family are ignored."""
    both = [(ip_network("0.0.0.0/0"), 1), (ip_network("::/0"), 2)]
    assert longest_match(4, both, 0).values.tolist() == [1]
    assert longest_match(6, both, 0).values.tolist() == [2]


@pytest.mark.parametrize("family", [4, 6])
def test_constant_covers_the_family(family: int) -> None:
    """`constant` has one interval, from address 0 on."""
    partition = constant(family, 7)
    assert len(partition) == 1
    assert [partition.value_at(address) for address in edges(family, [])] == [7, 7]


@given(st.lists(st.integers(0, 50), min_size=1), st.sampled_from([51, 10_000]))
def test_distinct_by_counting_and_by_sorting(values: list[int], limit: int) -> None:
    """Both ways give each number once, ascending."""
    assert distinct_below(np.array(values), limit).tolist() == sorted(set(values))
