# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from geodrop.policy.spans import meets, size, span, spans, without
from geodrop.policy.values import merged

MOST = 40

some = st.lists(st.tuples(st.integers(0, MOST), st.integers(0, MOST)).map(lambda two: (min(two), max(two)))).map(merged)


def members(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    """Return the set of all numbers in spans."""
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(some, some)
def test_without_is_the_difference(one: tuple[tuple[int, int], ...], other: tuple[tuple[int, int], ...]) -> None:
    """The result has the numbers of the first that the second lacks, in the fewest spans."""
    left = without(one, other)
    assert members(left) == members(one) - members(other)
    assert left == merged(left)
    assert size(left) == len(members(left))


@given(some, st.integers(0, MOST), st.integers(0, MOST))
def test_meets_finds_a_common_number(one: tuple[tuple[int, int], ...], first: int, length: int) -> None:
    """A range meets spans if any number is in both."""
    assert meets(one, first, first + length) == bool(members(one) & set(range(first, first + length + 1)))


def test_spans_are_of_one_family() -> None:
    """Adjacent networks are joined; those of the other family are left out."""
    networks = [ip_network(text) for text in ("128.0.0.0/1", "2a00::/16", "0.0.0.0/1", "::/0")]
    assert spans(networks, 4) == ((0, 2**32 - 1),)
    assert spans(networks, 6) == ((0, 2**128 - 1),)
    for network in (*networks, ip_network("9.9.9.9")):
        assert span(network) == (int(network[0]), int(network[-1]))
