# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from geodrop.ruleset.difference import (
    Move,
    PrefixCounts,
    RulesetDiff,
    ServiceChange,
    Shares,
    line_of,
    of_json,
    percent,
    to_json,
)
from geodrop.ruleset.fields import Invalid
from geodrop.ruleset.model import Row

FOUND = RulesetDiff(
    (
        ServiceChange(
            "api",
            "changed",
            (
                Move("region", "BR", "drop", 87_300_000, 1_204, "policy.yaml:31 deny: BR", 0.0234),
                Move("list", "bad", "drop", 256, 0, "policy.yaml:9 deny: list:bad", 7e-8),
                Move("prefix", "192.0.2.0/24", "accept", 256, 0),
            ),
            Shares(0.025, 0.004),
            Shares(0.0234, 0.004),
            {4: PrefixCounts(12, 1), 6: PrefixCounts(3, 0)},
            {"starts": (None, 1_720_483_200), "mode": ("monitor", "enforce")},
            match=True,
        ),
        ServiceChange("web", "same", prefixes={4: PrefixCounts(), 6: PrefixCounts()}),
    ),
    never_drop_ports=True,
)


def test_json_and_back() -> None:
    """What a child tells arrives as it was."""
    assert of_json(to_json(FOUND).encode()) == replace(
        FOUND, services=tuple(replace(one, moves=tuple(one.moves)) for one in FOUND.services)
    )
    [move, *_] = FOUND.as_json()["services"][0]["moves"]
    assert move == {
        "region": "BR",
        "from": "accept",
        "to": "drop",
        "ipv4_addresses": 87_300_000,
        "ipv6_48s": 1_204,
        "ipv4_share": 0.0234,
        "line": "policy.yaml:31 deny: BR",
    }


def test_one_line() -> None:
    """The line of a reload names what moves, the prefixes, and the settings that change."""
    assert FOUND.as_text() == (
        "api drops BR (2.3% of IPv4), list:bad (<0.1% of IPv4), accepts 192.0.2.0/24, +15 -1 prefixes, "
        "api: starts at once -> 2024-07-09T00:00:00Z and mode monitor -> enforce and match changed, "
        "never-drop ports changed"
    )


def test_as_many_names_as_a_person_reads() -> None:
    """The largest regions are named first; of the others there is the number and the total share."""
    moves = [Move("region", f"{letter}{letter}", "drop", 1, 0, "", n / 1_000) for n, letter in enumerate("ABCDEFGHIJ")]
    text = ServiceChange("api", "changed", moves).as_text()
    assert text.startswith("api drops JJ (0.9% of IPv4), II (0.8% of IPv4), ")
    assert text.endswith(", CC (0.2% of IPv4), 2 more (0.1% of IPv4)")


def test_two_lines_of_one_region_are_one_name() -> None:
    """A region that two lines move is named once, with the share of both."""
    moves = [Move("region", "UA", "drop", 1, 0, line, 0.01) for line in ("p:1 deny: UA", "p:2 default: deny")]
    assert ServiceChange("api", "changed", moves).as_text() == "api drops UA (2.0% of IPv4)"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("drop", "country", "CN", 0, 9), "p.yaml:9 deny: CN"),
        (Row("accept", "country", "group:eea", 0, 3), "p.yaml:3 allow: group:eea"),
        (Row("drop", "default", "default: deny", 0, 5), "p.yaml:5 default: deny"),
        (Row("accept", "unknown", "unknown: allow", 0, 6), "p.yaml:6 unknown: allow"),
        (Row("accept", "never-drop", "never_drop: 10.0.0.0/8", at=7), "p.yaml:7 never_drop: 10.0.0.0/8"),
        (Row("accept", "special", "special"), ""),
    ],
)
def test_the_line_as_it_is_written(row: Row, expected: str) -> None:
    """A line is told with its file, its number and its key."""
    assert line_of("p.yaml", row) == expected


def test_shares_in_words() -> None:
    """A share that rounds to nothing is not told as nothing."""
    assert [percent(share) for share in (0.0, 1e-9, 0.0004, 0.023, 1.0)] == ["0%", "<0.1%", "<0.1%", "2.3%", "100.0%"]


BROKEN: dict[str, Any] = {
    "services": {},
    "never_drop_ports": 1,
    "text": None,
}


@pytest.mark.parametrize("name", ["services", "never_drop_ports"])
def test_a_child_is_not_trusted(name: str) -> None:
    """A form that callers could not use is refused, with its place."""
    content = FOUND.as_json() | {name: BROKEN[name]}
    with pytest.raises(Invalid, match=name):
        of_json(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [("to", "reject"), ("ipv4_addresses", -1), ("ipv6_48s", 1 << 60), ("ipv4_share", 2.0), ("line", 5), ("list", "x")],
)
def test_each_move_is_checked(key: str, value: object) -> None:
    """Figures and words of a move have bounds, and a move is about one thing."""
    content = FOUND.as_json()
    content["services"][0]["moves"][0][key] = value
    with pytest.raises(Invalid, match=r"services\[0\]\.moves\[0\]"):
        of_json(json.dumps(content).encode())


def test_a_ramp_that_changes() -> None:
    """It arrives as it was, and the line names its steps; without one all sources are dropped."""
    ramp = ((1_720_483_200, 100), (1_720_569_600, 10_000))
    prefixes = {4: PrefixCounts(), 6: PrefixCounts()}
    found = RulesetDiff((ServiceChange("api", "changed", prefixes=prefixes, settings={"ramp": ((), ramp)}),))
    assert of_json(to_json(found).encode()) == found
    told = "ramp 100% -> 1% from 2024-07-09T00:00:00Z, 100% from 2024-07-10T00:00:00Z"
    assert found.services[0].settings_as_text() == told
