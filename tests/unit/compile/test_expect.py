# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from geodrop.compile.build import assemble, assemble_untested, build
from geodrop.compile.expect import failed_tests, held
from geodrop.errors import PolicyError
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.meta import CompiledTest, Embedding
from geodrop.ruleset.model import Input, Ruleset
from tests.support.databases import city, country, write_database
from tests.support.worlds import regions

if TYPE_CHECKING:
    from geodrop.geo.world import RegionMap
    from geodrop.policy.model import Policy

ZERO = str(IPv4Address(0))

WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "5.43.0.0/16": city("UA", "43"),
    "5.44.0.0/16": city("UA", "30"),
    "6.0.0.0/8": country("", continent="AS"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
}
POLICY = """version: 1
corrections: {2.9.0.0/16: GB}
never_drop: {prefixes: [1.1.1.0/24]}
services:
  api:
    match: {ports: {tcp: [443]}}
    default: deny
    unknown: deny
    allow: [US, 1.5.0.0/16]
    deny: [2.2.0.0/16]
    mode: monitor
    expect: {TESTS}
"""


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Database:
    path = write_database(tmp_path_factory.mktemp("world") / "city.mmdb", WORLD)
    return Database.open(path.read_bytes(), path.name)


def loaded(tests: str, world: Database) -> tuple[Policy, RegionMap]:
    """Return the policy with these tests, and the world as it sees it."""
    policy, _ = load_policy(POLICY.replace("TESTS", tests).encode(), "etc/policy.yaml", lambda _: b"")
    return policy, regions([world], policy.corrections)


def failing(tests: str, world: Database) -> list[str]:
    """Return what the failing tests say, without place and next step."""
    policy, region_map = loaded(tests, world)
    meta, sections = assemble_untested(policy, region_map, [Input("policy", "policy.yaml", "0" * 64)])
    said = [problem.message for problem in failed_tests(policy, meta, sections, region_map)]
    assert all(one.startswith("expect ") and one.endswith("; correct it or drop the test") for one in said)
    return [one.removeprefix("expect ").partition(";")[0] for one in said]


@pytest.mark.parametrize(
    "tests",
    [
        "accept: [2.0.0.1, 2.0.0.0/15, 2600::/16, 1.5.0.0/16]",
        "drop: [1.0.0.1, 2.2.0.0/16, 5.43.0.0/16, 9.9.9.9, '2400::/16', '2002:100::/30', '64:ff9b::202:1']",
        # never-drop and special addresses pass, though neither does inside an IPv6 address
        "accept: [1.1.1.0/24, 10.0.0.0/8, '::1', 'fe80::/10'], drop: ['2002:101:100::/40', '::ffff:10.0.0.1']",
        "accept: ['2002:200::/31', '::ffff:2.0.0.0/112', '2001:0:1:2:3:4:fdff:fefe']",
        "region: {1.0.0.0/8: CN, 2.0.0.1: US, 2.9.1.1: GB, 9.9.9.9: unknown, '2400::1': CN}",
        "region: {5.43.0.1: UA-43, 5.44.0.0/16: UA, 6.0.0.1: 'continent:AS', 1.2.3.4: 'continent:AS'}",
        "region: {'2002:100:1::': CN, '::ffff:10.0.0.1': unknown, '2001::fefe:fefe': CN}",
    ],
)
def test_what_holds_is_not_reported(tests: str, world: Database) -> None:
    """A test holds if the ladder, or the databases after corrections, say so of every address."""
    assert failing(tests, world) == []


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("accept: [1.0.0.0/24]", "accept: 1.0.0.0/24 would be dropped: CN, default: deny (policy.yaml:7)"),
        ("accept: [9.9.9.9]", "accept: 9.9.9.9 would be dropped: unknown: deny (policy.yaml:8)"),
        ("accept: [2.2.0.9]", "accept: 2.2.0.9 would be dropped: deny: 2.2.0.0/16 (policy.yaml:10)"),
        ("drop: [2.0.0.1]", "drop: 2.0.0.1 would be accepted: US, allow: US (policy.yaml:9)"),
        ("drop: [1.1.1.1]", "drop: 1.1.1.1 would be accepted: CN, never_drop: 1.1.1.0/24 (policy.yaml:3)"),
        ("drop: [10.0.0.1]", "drop: 10.0.0.1 would be accepted: special"),
        (
            "accept: [2.0.0.0/14]",
            (
                "accept: 2.0.0.0/14 would be dropped in part (65,536 of 262,144 addresses, first 2.2.0.0/16): "
                "deny: 2.2.0.0/16 (policy.yaml:10)"
            ),
        ),
        (
            "accept: [2600::/12]",
            "accept: 2600::/12 would be dropped in part (93.8% of it, first 2601::/16): unknown: deny (policy.yaml:8)",
        ),
        (
            "accept: ['2002:202:3::1']",
            "accept: 2002:202:3::1 would be dropped: 2.2.0.3 inside it, deny: 2.2.0.0/16 (policy.yaml:10)",
        ),
        (
            "accept: ['2002:200::/24']",
            (
                "accept: 2002:200::/24 would be dropped in part (first 2.2.0.0/16 inside it): "
                "deny: 2.2.0.0/16 (policy.yaml:10)"
            ),
        ),
        (
            "drop: ['64:ff9b::/96']",
            (
                "drop: 64:ff9b::/96 would be accepted in part (first 1.5.0.0/16 inside it): "
                "allow: 1.5.0.0/16 (policy.yaml:9)"
            ),
        ),
        (
            "drop: ['2002::/15']",
            "drop: 2002::/15 would be accepted in part (first 1.5.0.0/16 inside it): allow: 1.5.0.0/16 (policy.yaml:9)",
        ),
        ("region: {2.9.1.1: US}", "region: 2.9.1.1 is GB, not US"),
        (
            "region: {2.0.0.0/8: US}",
            "region: 2.0.0.0/8 is not all US (65,536 of 16,777,216 addresses, first 2.9.0.0/16: GB)",
        ),
        ("region: {10.0.0.1: US}", "region: 10.0.0.1 is special, not US"),
        ("region: {5.44.0.1: UA-43}", "region: 5.44.0.1 is UA-30, not UA-43"),
        ("region: {9.9.9.9: US}", "region: 9.9.9.9 is unknown, not US"),
        ("region: {6.0.0.1: unknown}", "region: 6.0.0.1 is continent:AS, not unknown"),
        ("region: {'2002:100:1::': US}", "region: 2002:100:1:: is CN (1.0.0.1 inside it), not US"),
    ],
)
def test_what_fails_is_named_with_the_line_that_decides(tests: str, said: str, world: Database) -> None:
    """A failing test names what would happen, how much of the prefix is concerned, and the line of the policy."""
    assert failing(tests, world) == [said]


def test_every_failing_test_is_reported_at_its_place_and_nothing_is_built(world: Database) -> None:
    """A failing test refuses the ruleset (78), whichever function builds it, and hides no other one."""
    policy, region_map = loaded("accept: [1.0.0.1, 2.0.0.1], drop: [2.0.0.2, 1.0.0.0/16, 2.1.0.0/16]", world)
    places = []
    for function in (build, assemble):
        with pytest.raises(PolicyError) as caught:
            function(policy, region_map, [])
        assert caught.value.exit_code == 78
        places.append([str(problem.place) for problem in caught.value.problems])
        assert "\n        expect: {accept: [1.0.0.1," in str(caught.value)
    assert places == [["etc/policy.yaml:12:23", "etc/policy.yaml:12:49", "etc/policy.yaml:12:70"]] * 2


def test_tests_travel_in_the_ruleset(world: Database) -> None:
    """The ruleset records each test with its line; it has the same bytes each time."""
    given = loaded("accept: [2.0.0.1], region: {2.9.0.0/16: GB}", world)
    data = build(*given, [])
    assert data == build(*given, [])
    assert Ruleset.unpack(data, "test").meta.tests == (
        CompiledTest("api", "accept", "2.0.0.1/32", None, 12),
        CompiledTest("api", "region", "2.9.0.0/16", "GB", 12),
    )


@pytest.mark.parametrize(
    ("first", "last", "ranges"),
    [
        ("2002:102::", "2002:103:ffff:ffff:ffff:ffff:ffff:ffff", [("1.2.0.0", "1.3.255.255")]),
        ("2002:102:304:5::", "2002:102:304:6::", [("1.2.3.4", "1.2.3.4")]),
        ("64:ff9b::102:0", "64:ff9b::103:0", [("1.2.0.0", "1.3.0.0")]),
        ("2001::fefd:fcfb", "2001::fefd:fcff", [("1.2.3.0", "1.2.3.4")]),
        ("2001::ffff:fffe", "2001::1:0:1", [(ZERO, "0.0.0.1"), ("255.255.255.254", "255.255.255.255")]),
        ("2001::ffff:ffff", "2001::2:0:0", [(ZERO, "255.255.255.255")]),
    ],
)
def test_held_are_exactly_the_embedded_addresses(first: str, last: str, ranges: list[tuple[str, str]]) -> None:
    """Ranges of IPv6 hold the IPv4 addresses that they embed; Teredo's are inverted, and start again every 2^32."""
    embedding = {"2002": Embedding.SIXTOFOUR, "64": Embedding.NAT64, "2001": Embedding.TEREDO}[first.partition(":")[0]]
    found = held(embedding, int(IPv6Address(first)), int(IPv6Address(last)))
    assert [(str(IPv4Address(low)), str(IPv4Address(high))) for low, high in found] == ranges
