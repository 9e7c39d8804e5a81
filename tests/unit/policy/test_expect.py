# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from geodrop.document.shape import UnreadableError
from geodrop.policy import check
from geodrop.policy.expect import parse_region
from geodrop.policy.model import Aim
from tests.unit.policy.policies import said, service

HEAD = "services:\n  api:\n    default: allow\n    unknown: allow\n    expect:\n"


def about(*lines: str) -> list[str]:
    """Return the messages about tests; the first line given is line 7 of the policy."""
    return said(HEAD + "".join(f"      {line}\n" for line in lines))


def test_tests_are_read_in_the_order_of_the_file() -> None:
    """Each test has its place, its network, and what it expects; a region is kept as written."""
    api = service(
        """
        expect:
          region: {81.2.69.142: GB, 5.43.0.0/16: UA-43, "2a02:6b8::1": unknown, 6.0.0.0/8: "continent:AS"}
          drop: [5.9.0.0/16]
          accept: [81.2.69.0/24, "2a02:6b8::1"]
        """
    )
    assert [(test.aim, test.text, test.region, test.place.line) for test in api.expect] == [
        (Aim.REGION, "81.2.69.142", "GB", 5),
        (Aim.REGION, "5.43.0.0/16", "UA-43", 5),
        (Aim.REGION, "2a02:6b8::1", "unknown", 5),
        (Aim.REGION, "6.0.0.0/8", "continent:AS", 5),
        (Aim.DROP, "5.9.0.0/16", None, 6),
        (Aim.ACCEPT, "81.2.69.0/24", None, 7),
        (Aim.ACCEPT, "2a02:6b8::1", None, 7),
    ]
    assert all(str(test.network.network_address) == test.text.partition("/")[0] for test in api.expect)


@pytest.mark.parametrize("lines", [("accept: []", "drop: []", "region: {}"), ("accept: [8.8.8.8, 8.8.8.8/32]",)])
def test_nothing_to_test_and_a_test_twice_are_no_mistake(lines: tuple[str, ...]) -> None:
    """Empty lists and tables are no tests, and a test that is there already changes nothing."""
    assert about(*lines) == []


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        (
            ("accept: [81.2.69.0/23, 300.1.1.1]", 'region: {"x": GB, 8.8.8.8: UK}'),
            [
                '7:16: error: entry of accept of expect of service "api": 81.2.69.0/23 has bits set',
                '7:30: error: entry of accept of expect of service "api": "300.1.1.1" is not a prefix or an address',
                '8:16: error: entry of region of expect of service "api": "x" is not a prefix or an address',
                '8:34: error: region of "8.8.8.8": "UK" is not a country',
            ],
        ),
        (("accepts: [8.8.8.8]",), ['7:7: error: "accepts" is not a key of expect of service "api"; did you mean']),
        (
            ("accept: 8.8.8.8",),
            ['7:15: error: accept of expect of service "api" is a single value, but must be a list'],
        ),
        (("region: [8.8.8.8]",), ['7:15: error: region of expect of service "api" is a list; write  name: value']),
        (
            ("drop: [8.8.8.8]", "accept: [1.1.1.1, 8.8.8.8/32]"),
            ["7:14: error: expect drop: 8.8.8.8/32 is under accept too (line 8); remove one of the two"],
        ),
        (
            ("region: {8.8.8.8: US, 8.8.8.8/32: DE}",),
            ["7:29: error: expect region: 8.8.8.8/32 is under region, as US, too (line 7); remove one of the two"],
        ),
    ],
)
def test_a_bad_form_is_refused_at_its_place(lines: tuple[str, ...], messages: list[str]) -> None:
    """Every problem is reported at once, with the place and what to write."""
    found = about(*lines)
    assert len(found) == len(messages)
    for message, begin in zip(found, messages, strict=True):
        assert message.startswith(begin)


@pytest.mark.parametrize("text", ["ZZ", "gb", "UA-4334", "QQ-1", "continent:XX", "special", "group:eea", ""])
def test_a_region_is_a_code_or_unknown(text: str) -> None:
    """What no database can say is refused."""
    with pytest.raises(UnreadableError):
        parse_region(text)


def test_the_most_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test too many, all services together, is refused at its place."""
    monkeypatch.setattr(check, "MAX_TESTS", 3)
    assert about("accept: [8.8.8.8, 8.8.4.4]", "drop: [1.1.1.1]") == []
    assert about("accept: [8.8.8.8, 8.8.4.4]", "drop: [1.1.1.1, 1.0.0.1]") == [
        "8:23: error: 4 tests under expect, 3 is the most; test prefixes in place of addresses"
    ]
