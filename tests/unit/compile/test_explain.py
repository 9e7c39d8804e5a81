# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address

import pytest

from geodrop.compile.build import build
from geodrop.compile.change import compare
from geodrop.compile.explain import DatabaseAnswers, explain_with_databases, parts_by_region
from geodrop.geo.database import Database
from geodrop.report.pieces import whole
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.region_parts import parts_of
from tests.support.databases import city, write_database
from tests.support.worlds import regions
from tests.unit.compile.worlds import policy, region_map, service


@pytest.mark.parametrize(
    ("address", "region", "record"),
    [
        ("2.0.0.1", "UA-43", city("UA", "43")),
        ("2.1.0.1", "UA-30", city("UA", "30")),
        ("9.9.9.9", "unknown", None),
        ("10.0.0.1", "unknown", None),
        ("2002:200:1::", "UA-43", city("UA", "43")),
        ("2002:a00:1::", "unknown", None),
        ("4000::1", "unknown", None),
    ],
)
def test_region_is_the_databases_own(  # the ruleset knows no UA-30, since no line names it
    tmp_path_factory: pytest.TempPathFactory, address: str, region: str, record: object
) -> None:
    """Region and record are the databases' own, with subdivisions no line names; also for embedded addresses."""
    path = tmp_path_factory.mktemp("world") / "city.mmdb"
    write_database(path, {"2.0.0.0/16": city("UA", "43"), "2.1.0.0/16": city("UA", "30"), "2a00::/16": city("UA")})
    given = policy(service(deny=["UA-43"]), service("web", port=80))
    region_map = regions([Database.open(path.read_bytes(), path.name)], {})
    ruleset = Ruleset.unpack(build(given, region_map, []), "test")
    answers = list(explain_with_databases(ruleset, region_map, ip_address(address), 0))
    assert [(answer.service, answer.region, found) for answer, found in answers] == [
        ("api", region, record),
        ("web", region, record),
    ]


def test_regions_that_only_databases_tell() -> None:
    """A list takes part of a region, and a subdivision that no line names is told apart: the ruleset knows neither."""
    given = policy(service(deny=["UA"], allow=["list:partners"]), partners=["30.1.0.0/24", "20.0.0.0/24"])
    ruleset = Ruleset.unpack(build(given, region_map(), []), "test")
    answering = DatabaseAnswers(ruleset, region_map())
    found = {
        text: [
            (one["verdict"], one["line"], one["addresses"], one["not_counted"]) for one in answering.explained(text, 0)
        ]
        for text in ("UA", "UA-43", "US")
    }
    assert found == {
        "UA": [
            ("drop", "UA", (1 << 24) - (2 << 16), 0),
            ("drop", "UA", 1 << 16, 0),
            ("drop", "UA", (1 << 16) - 256, 0),
            ("accept", "list:partners", 256, 0),
        ],
        "UA-43": [("drop", "UA", (1 << 16) - 256, 0), ("accept", "list:partners", 256, 0)],
        "US": [("accept", "default: allow", (1 << 24) - 256, 0), ("accept", "list:partners", 256, 0)],
    }
    [answer] = DatabaseAnswers(ruleset, region_map()).explained("UA-30", 0)
    assert (answer["subject"], answer["addresses"], answer["ipv4_share"]) == ("UA-30", 1 << 16, 1.0)


def test_both_ways_of_counting_agree() -> None:
    """Where the ruleset tells all regions apart, it gives the same numbers as the databases, and as `plan`."""
    given = policy(service(deny=["UA", "UA-43", "UA-30"]), never_drop=["30.2.0.0/24"])
    ruleset = Ruleset.unpack(build(given, region_map(), []), "test")
    by_ruleset, by_databases = (
        {(part.zone, part.region): (part.ipv4, part.ipv6_48s, part.address) for part in parts}
        for parts in (whole(parts_of(ruleset)), parts_by_region(ruleset, region_map()))
    )
    assert by_ruleset == by_databases
    [api] = compare(None, ruleset).services
    answers = DatabaseAnswers(ruleset, region_map()).explained("UA", 0)
    assert sum(move.ipv4_addresses for move in api.moves) == sum(
        one["addresses"] for one in answers if one["would_drop"]
    )
    assert sum(move.ipv6_48s for move in api.moves) == sum(one["ipv6_48s"] for one in answers if one["would_drop"])
