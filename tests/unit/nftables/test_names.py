# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.nftables import names
from geodrop.nftables.model import Space
from geodrop.nftables.names import CounterName

services = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
labels = st.one_of(
    st.sampled_from(["CN", "UA-43", "XK", "unknown", "continent:EU", "192.0.2.0/24", "192.0.2.7", "::/0"]),
    st.sampled_from(["2001:db8::/32", "2001:db8::1", "::ffff:192.0.2.1/128"]),
    services.map("list:{}".format),
)
families = st.sampled_from(["ipv4", "ipv6"])


@given(services, labels, families, st.sampled_from(["dropped", "would_drop"]))
def test_counters_of_classes_come_back(service: str, label: str, family: str, what: str) -> None:
    """A counter's name has no colon, and yet its label is read back."""
    name = CounterName(service, label, family, what)
    assert ":" not in str(name)
    assert names.counter(str(name)) == name


@given(services, families, st.sampled_from(["accepted", "never_drop"]))
def test_counters_of_services_come_back(service: str, family: str, what: str) -> None:
    """Counters of a whole service have no label."""
    name = CounterName(service, None, family, what)
    assert names.counter(str(name)) == name


@pytest.mark.parametrize(
    "name", ["", "packets", "api.ipv4.dropped", "api.CN.ipv4.accepted", "api.CN.ipv5.dropped", ".CN.ipv4.dropped"]
)
def test_other_counters_are_not_ours(name: str) -> None:
    """Another program may have added a counter to the table."""
    assert names.counter(name) is None


def test_chains_and_maps() -> None:
    """Names are as the runbook shows them."""
    assert names.generation_chain(42) == "g42"
    assert names.way(42, "fragments") == "g42.fragments"
    assert names.service_chain(42, "api") == "g42-api"
    assert names.service_chain(42, "api", "list:partners") == "g42-api.list_partners"
    assert [names.service_map(42, "api", space) for space in Space] == [
        "g42-api.ipv4",
        "g42-api.inside",
        "g42-api.ipv6",
    ]
    assert names.never_drop_map(42, "api", 6) == "g42-api.never-drop.ipv6"


@given(st.integers(0, 10**9), services, labels)
def test_everything_of_a_generation_is_known_by_its_name(generation: int, service: str, label: str) -> None:
    """The generation can be read from every name, so leftovers are found."""
    for name in (
        names.generation_chain(generation),
        names.way(generation, service),
        names.service_chain(generation, service, label),
        names.service_map(generation, service, Space.INSIDE),
        names.never_drop_map(generation, service, 6),
    ):
        assert names.generation_of(name) == generation


@pytest.mark.parametrize("name", [names.BASE, "g", "gx-api", "g1x", "x1", "api.ipv4"])
def test_what_has_no_generation(name: str) -> None:
    """The base chain has no generation, and neither have foreign names."""
    assert names.generation_of(name) is None


@given(services, services, labels, labels)
def test_no_two_things_have_one_name(one: str, other: str, label: str, another: str) -> None:
    """A service's name has no dot, so names are never ambiguous."""
    if (one, label) != (other, another):
        assert names.service_chain(1, one, label) != names.service_chain(1, other, another)
    assert names.service_chain(1, one, label) != names.service_chain(1, other)
