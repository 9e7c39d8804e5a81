# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.ruleset.prefixes import denied, hidden, prefixes, regardless
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset, ServiceSpec

IPV4 = {"1.0.1.0/24": "CN", "1.0.2.0/24": "CN", "1.0.3.0/24": "RU", "224.0.0.0/3": "list:bad"}


def shown(rules: Ruleset, family: int) -> list[str]:
    """Return prefix and counter class of everything that the first service denies."""
    return [
        f"{prefix} {rules.meta.classes[klass]}"
        for first, last, klass in denied(rules, rules.meta.services[0], family)
        for prefix in prefixes(first, last, family)
    ]


def test_neighbours_of_one_class_are_joined() -> None:
    """An interval ends where its class ends; the last interval ends with the family."""
    assert shown(ruleset(Service("api", IPV4)), 4) == [
        "1.0.1.0/24 CN",
        "1.0.2.0/24 CN",
        "1.0.3.0/24 RU",
        "224.0.0.0/3 list:bad",
    ]
    rules = ruleset(Service("api", IPV4))
    [service] = rules.meta.services
    assert [(first, last) for first, last, _ in regardless(denied(rules, service, 4))] == [
        (0x01000100, 0x010003FF),
        (0xE0000000, 0xFFFFFFFF),
    ]


def test_what_is_accepted_on_the_wire_is_not_denied() -> None:
    """Never-drop prefixes and special addresses are not denied on the wire, but may be when embedded in IPv6."""
    content = {
        "8.8.8.8/32": "never-drop",
        "9.9.9.0/24": "never-drop else CN",
        "10.0.0.0/8": "special else unknown",
        "64:ff9b::/96": "nat64",
        "2a00::/16": "never-drop",
    }
    rules = ruleset(Service("api", content))
    assert shown(rules, 4) == []
    assert shown(rules, 6) == ["64:ff9b::909:900/120 CN", "64:ff9b::a00:0/104 unknown"]


@pytest.mark.parametrize(
    ("embedding", "prefix", "expected"),
    [
        ("6to4", "2002::/16", ["2002:100:100::/40 CN", "2002:e000::/19 list:bad"]),
        ("nat64", "64:ff9b::/96", ["64:ff9b::100:100/120 CN", "64:ff9b::e000:0/99 list:bad"]),
        ("mapped", "::ffff:0:0/96", ["::ffff:1.0.1.0/120 CN", "::ffff:224.0.0.0/99 list:bad"]),
    ],
)
def test_embedded_addresses_are_written_out(embedding: str, prefix: str, expected: list[str]) -> None:
    """Denied IPv4 prefixes are written out as the IPv6 prefixes that embed them."""
    rules = ruleset(Service("api", {"1.0.1.0/24": "CN", "224.0.0.0/3": "list:bad", prefix: embedding}))
    assert shown(rules, 6) == expected


def test_a_part_of_the_embedding_ranges() -> None:
    """A policy line for part of an embedding range is left out of the expansion, even inside one IPv4 address."""
    rules = ruleset(Service("api", {"1.0.1.0/24": "CN", "2002:100:100::/49": "RU", "2002:100:100:8000::/49": "6to4"}))
    assert shown(rules, 6) == ["2002:100:100::/49 RU", "2002:100:100:8000::/49 CN"]


def test_teredo_is_said_to_be_hidden() -> None:
    """Teredo is reported as not expanded only if the service denies some of its clients."""
    assert hidden(*_only({"1.0.1.0/24": "CN", "2001::/32": "teredo"}))
    assert hidden(*_only({"10.0.0.0/8": "special else CN", "2001::/32": "teredo"}))
    assert not hidden(*_only({"1.0.1.0/24": "CN"}))
    assert not hidden(*_only({"10.0.0.0/8": "special", "2001::/32": "teredo"}))
    assert shown(ruleset(Service("api", {"1.0.1.0/24": "CN", "2001::/32": "teredo"})), 6) == []


def _only(content: dict[str, str]) -> tuple[Ruleset, ServiceSpec]:
    rules = ruleset(Service("api", content))
    return rules, rules.meta.services[0]


@given(st.data(), st.sampled_from([4, 6]))
def test_prefixes_are_the_fewest(data: st.DataObject, family: int) -> None:
    """The prefixes are those of the standard library, for intervals of every size."""
    top = (1 << (32 if family == 4 else 128)) - 1
    first = data.draw(st.integers(0, top))
    last = min(top, first + data.draw(st.sampled_from([0, 1, 2, 255, 256, 1000, top // 3, top])))
    make = IPv4Address if family == 4 else IPv6Address
    expected = [str(network) for network in summarize_address_range(make(first), make(last))]
    assert [str(ip_network(prefix)) for prefix in prefixes(first, last, family)] == expected
