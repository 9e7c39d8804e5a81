# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.document.shape import UnreadableError
from geodrop.errors import ListError, PolicyError
from geodrop.policy.guard import parse_entries, share_of
from geodrop.policy.parse import load_policy
from geodrop.policy.special import GLOBAL_UNICAST, is_special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.document.problems import Problem

POLICY = """
version: 1
lists:
  bad: {SOURCE, guard: {GUARD}}
services: {api: {default: allow, unknown: allow, deny: [list:bad]}}
"""
THE_GUARD = 'the guard of list "bad" (policy.yaml:4)'
DAY = 86_400.0


def problems(guard: str, source: str, data: str = "", ages: dict[str, float] | None = None) -> tuple[int, list[str]]:
    """Return the exit code of a policy with a guarded list, and what is said, with places."""
    text = POLICY.replace("SOURCE", source).replace("GUARD", guard)
    found: Sequence[Problem]
    try:
        code, found = 0, load_policy(text.encode(), "etc/policy.yaml", lambda _: dedent(data).encode(), ages)[1]
    except (PolicyError, ListError) as failure:
        code, found = failure.exit_code, failure.problems
    return code, [f"{one.place}: {one.severity}: {one.message}" for one in found]


def of_file(guard: str, data: str, age: float = 0.0) -> tuple[int, list[str]]:
    """Return the same of a list file with this content and age."""
    return problems(guard, "file: lists/bad.txt", data, {"lists/bad.txt": age})


GOOD = "# a list\n5.9.0.0/16\n5.10.0.0-5.10.0.9 # a range\n2a01:4f8::/32\n"


@pytest.mark.parametrize(
    "guard",
    [
        "shortest: {ipv4: 16, ipv6: 32}",
        "shortest: {ipv6: 32}",
        "entries: 3-3",
        "entries: 1-",
        "entries: -3",
        "share: 1%",
        "age: 7d",
        "shortest: {ipv4: 16, ipv6: 32}, entries: 3-500000, share: 1%, age: 7d",
        "",
    ],
)
def test_a_list_that_keeps_its_guard_is_taken(guard: str) -> None:
    """Each limit may be reached; a range is one entry; what the guard leaves out is not limited."""
    assert of_file(guard, GOOD, 7 * DAY) == (0, [])


@pytest.mark.parametrize(
    ("guard", "age", "said"),
    [
        ("shortest: {ipv4: 17}", 0, "2:1: error: 5.9.0.0/16 is shorter than /17, and {} allows no such prefix"),
        ("shortest: {ipv6: 33}", 0, "4:1: error: 2a01:4f8::/32 is shorter than /33, and {} allows no such prefix"),
        ("shortest: {ipv4: 30}", 0, "2:1: error: 5.9.0.0/16 is shorter than /30, like 1 more, and {} allows"),
        ("entries: 4-", 0, "4:1: error: 3 entries, and {} wants at least 4; check whether the list is complete"),
        ("entries: 0-2", 0, "4:1: error: 3 entries, and {} allows 2; check whether it is the right list"),
        (
            "share: 0.001%",
            0,
            "2:1: error: the list holds 0.00177% of IPv4, and {} allows 0.001%; its largest prefix is",
        ),
        ("age: 7d", 7.5 * DAY, "1:1: error: modified 7.5 d ago, and {} allows 7 d; check why it is fetched no more"),
        ("age: 90m", 2 * 3_600, "1:1: error: modified 2 h ago, and {} allows 1.5 h"),
    ],
)
def test_a_list_file_that_does_not_is_bad_data(guard: str, age: float, said: str) -> None:
    """It is refused (65) with the figure, the offending line of the file, and the place of the guard."""
    code, (found,) = of_file(guard, GOOD, age)
    assert code == ListError.exit_code == 65
    assert found.startswith(f"etc/lists/bad.txt:{said.format(THE_GUARD)}")


def test_every_broken_limit_is_reported() -> None:
    """All limits are checked, so that one correction shows no next one."""
    code, found = of_file("shortest: {ipv4: 20}, entries: 10-, share: 0.001%, age: 1h", GOOD, DAY)
    assert (code, len(found)) == (65, 4)


def test_comments_alone_are_no_entries() -> None:
    """A list that a failed download left without entries is refused at its beginning."""
    code, found = of_file("entries: 1-", "# nothing\n")
    assert (code, found[0][:38]) == (65, "etc/lists/bad.txt:1:1: error: 0 entrie")


def test_an_age_that_is_not_known_counts_against_the_file() -> None:
    """A limit that cannot be checked is not kept."""
    code, (found,) = problems("age: 7d", "file: lists/bad.txt", GOOD)
    assert code == 65
    assert "its age is not known" in found


def test_a_file_from_the_future_is_new_and_warned_of() -> None:
    """A clock that is wrong refuses nothing; a few seconds are no matter."""
    assert of_file("age: 7d", GOOD, -30) == (0, [])
    code, (found,) = of_file("age: 7d", GOOD, -2 * DAY)
    assert code == 0
    assert found == (
        'etc/policy.yaml:4:15: warning: list "bad": "lists/bad.txt" was modified 2 d in the future, which counts as '
        "now; check the clocks"
    )


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("shortest: {ipv4: 17}", "4:29: error: 5.9.0.0/16 is shorter than /17"),
        ("entries: 3-", "4:29: error: 2 entries, and {} wants at least 3"),
        ("entries: -1", "4:29: error: 2 entries, and {} allows 1"),
        ("share: 0.000001%", "4:29: error: the list holds 0.00177% of IPv4, and {} allows 1e-06%"),
        ("age: 7d", '4:55: error: age of guard of list "bad": prefixes that stand here are as old as the policy'),
    ],
)
def test_prefixes_in_the_policy_are_a_mistake_of_the_policy(guard: str, said: str) -> None:
    """They are refused with 78, at the prefix to blame; they have no age."""
    code, (found,) = problems(guard, "prefixes: [5.9.9.9, 5.9.0.0/16]")
    assert code == PolicyError.exit_code
    assert found.startswith(f"etc/policy.yaml:{said.format(THE_GUARD)}")
    assert problems("share: 1%, entries: 2-2", "prefixes: [5.9.9.9, 5.9.0.0/16]") == (0, [])


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("entries: 100", '"100" is no range of numbers; write 100-  for at least, or  -100  for at most'),
        ("entries: 5-3", "5-3 runs backwards; write 3-5"),
        ("shortest: {ipv4: /16}", '"/16" is not the length of a prefix; write a number from 0 to 32'),
        ("shortest: {ipv6: 129}", '"129" is not the length of a prefix; write a number from 0 to 128'),
        ("shortest: 16", "shortest of guard of list"),
        ("share: 5", '"5" is not a share'),
        ("age: 7", '"7" is not a duration'),
        ("oldest: 7d", '"oldest" is not a key of guard of list "bad"'),
    ],
)
def test_a_guard_that_cannot_be_read(guard: str, said: str) -> None:
    """It is refused with 78, its place, and what to write."""
    code, (found,) = of_file(guard, GOOD)
    assert code == 78
    assert found.startswith("etc/policy.yaml:4:")
    assert said in found


def test_a_guard_alone_is_no_list() -> None:
    """A list needs prefixes or a file, whatever guards it."""
    text = POLICY.replace("SOURCE, guard: {GUARD}", "guard: {entries: 1-}")
    with pytest.raises(PolicyError, match='list "bad" is empty; write exactly one of prefixes, file, asn, traits'):
        load_policy(text.encode(), "p", lambda _: b"")


@pytest.mark.parametrize("text", ["-", "", "1-2-3", "a-b", "1 - 2"])
def test_entries_are_one_range(text: str) -> None:
    """Anything but two numbers with a dash, of which one may be missing, is refused."""
    with pytest.raises(UnreadableError):
        parse_entries(text)


WHOLE = {number for number in range(1 << 12) if not is_special(IPv4Address(number << 20))}
"""The /12s that are not special. Smaller special networks are a thousandth of IPv4 at most."""


@given(lengths=st.lists(st.tuples(st.integers(0, 2**12 - 1), st.integers(4, 12)), max_size=8))
def test_share_of_ipv4_is_that_of_the_addresses_that_are_not_special(lengths: list[tuple[int, int]]) -> None:
    """Overlaps count once, and special addresses neither in the list nor in the whole; counted by /12s."""
    networks = [ip_network((start >> 12 - length << 32 - length, length)) for start, length in lengths]
    spans = [(int(one[0]) >> 20, 1 << 12 - one.prefixlen) for one in networks]
    held = {number for first, count in spans for number in range(first, first + count)}
    assert share_of(networks, 4) == pytest.approx(len(held & WHOLE) / len(WHOLE), abs=2e-3)


@pytest.mark.parametrize(
    ("prefixes", "sites"),
    [
        (["2a01:4f8::/32", "2a01:4f8:1::/48", "2a01:4f8:2:3::/64"], 1 << 16),
        (["2a01::1", "2a01::2", "2a01:0:1::1"], 2),
        (["2000::/3"], 1 << 45),
        (["::/0"], 1 << 45),
        (["fc00::/7", "9.9.9.9"], 0),
    ],
)
def test_share_of_ipv6_is_in_sites(prefixes: list[str], sites: int) -> None:
    """Each /48 of 2000::/3 with an address in the list counts whole, and once."""
    assert GLOBAL_UNICAST.prefixlen == 3
    assert share_of([ip_network(one) for one in prefixes], 6) == sites / (1 << 45)
