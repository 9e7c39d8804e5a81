# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from geodrop.engine.api import Difference
from geodrop.engine.exempt import SLACK, ExemptSource, differences, exempt_until, holds, merged, ranges

SECOND = 1_000_000_000


def source(text: str, seconds: int) -> ExemptSource:
    """Return a source with a deadline, in seconds after the boot."""
    return ExemptSource(ip_network(text), seconds * SECOND)


NETWORKS = st.builds(
    lambda base, at, length, seconds: source(
        str(ip_network((int(ip_address(base)) | at << (8 if ":" not in base else 100), length), strict=False)), seconds
    ),
    st.sampled_from(["1.2.0.0", "2400:1::"]),
    st.integers(0, 255),
    st.integers(16, 32),
    st.integers(1, 5),
)


@given(st.lists(NETWORKS, max_size=12))
def test_each_address_passes_until_the_latest_deadline(sources: list[ExemptSource]) -> None:
    """Of the networks left after merging, the longest one that holds an address says until when; so do the ranges."""
    kept, cut = merged(sources), ranges(sources)
    assert set(kept) <= set(sources)
    assert cut == sorted(cut, key=lambda one: (one.owner.version, one.first))
    edges = {(one.network.version, int(end)) for one in sources for end in (one.network[0], one.network[-1])}
    edges |= {(version, at + step) for version, at in edges for step in (-1, 1)}
    for version, at in edges:
        address = ip_address(at.to_bytes(4 if version == 4 else 16, "big"))
        latest = exempt_until(sources, address)
        longest = max(
            (one for one in kept if address in one.network), key=lambda one: one.network.prefixlen, default=None
        )
        assert latest == (longest.deadline if longest else None)
        held = [one for one in cut if one.owner.version == version and one.first <= at <= one.last]
        assert [one.deadline for one in held] == ([] if latest is None else [latest])
        assert all(address in one.owner for one in held)


def test_a_network_around_another_is_cut() -> None:
    """The part inside passes longer; what lies before and behind it belongs to the network around it."""
    found = ranges([source("1.2.0.0/24", 10), source("1.2.0.128/26", 20), source("1.2.0.5", 5)])
    assert [(str(one.owner), one.first & 0xFF, one.last & 0xFF, one.deadline // SECOND) for one in found] == [
        ("1.2.0.0/24", 0, 127, 10),
        ("1.2.0.128/26", 128, 191, 20),
        ("1.2.0.0/24", 192, 255, 10),
    ]


def test_families_do_not_meet() -> None:
    """An IPv4 network holds no IPv6 one, whatever their numbers are."""
    assert not holds(ip_network("0.0.0.0/0"), ip_network("::1/128"))
    assert not holds(ip_network("::/0"), ip_network("0.0.0.1/32"))
    assert holds(ip_network("2400::/16"), ip_network("2400:1::/32"))
    assert len(ranges([source("0.0.0.0/16", 1), source("::/32", 1)])) == 2


def test_expiry_is_no_difference() -> None:
    """What is about to expire, or has just expired, may be there or not; anything else is a difference."""
    now = 100 * SECOND
    soon, later = now + SLACK // 2, now + 60 * SECOND
    assert differences("exempt", {"a": soon}, {}, now) == []
    assert differences("exempt", {"a": now - SECOND}, {}, now) == []
    assert differences("exempt", {}, {"a": now - 60 * SECOND}, now) == []
    assert differences("exempt", {"a": later}, {"a": later + SLACK // 2}, now) == []
    assert differences("exempt", {"a": later}, {"b": later, "c": now}, now) == [
        Difference("exempt a", "exempt for 60 s", "not exempt"),
        Difference("exempt b", "not exempt", "exempt for 60 s"),
    ]
    [longer] = differences("exempt", {"a": later}, {"a": later + 60 * SECOND}, now)
    assert (longer.expected, longer.found) == ("exempt for 60 s", "exempt for 120 s")
