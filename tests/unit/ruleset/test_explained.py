# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.ruleset.explained import told

ANSWER: dict[str, Any] = {
    "asked": "1.2.3.4",
    "address": "1.2.3.4",
    "addresses": 1,
    "service": "api",
    "region": "CN",
    "rung": "default",
    "line": "default: deny",
    "place": "policy.yaml:38",
    "would_drop": True,
    "verdict": "drop",
    "mode": "enforce",
    "starts": None,
    "embedded": None,
    **dict.fromkeys(("bucket", "share", "dropped_from")),
    "exempted": None,
    "correction": None,
    "drawn": [],
    "about": "address",
    "zone": 7,
}
PASSES = {"would_drop": False, "verdict": "accept"}
KERNEL = {
    "generation": 41,
    "digest": "9a41c07be212" + "0" * 52,
    "verdict": "drop",
    "would_drop": True,
    "where": "map g41-api.ipv4",
    "target": "g41-api.CN",
}


def one(**changed: object) -> str:
    """Return the only line for an answer."""
    [line, *rest] = told([{**ANSWER, **changed}], several=False)
    assert [other.partition(" ")[0] for other in rest] in ([], ["region"])
    return line


DRAWN = {"list": "dc", "what": "AS64496", "database": "asn.mmdb"}
BY_LIST: dict[str, Any] = {"rung": "list", "line": "list:dc", "counted_as": "list:dc", "drawn": [DRAWN]}


@pytest.mark.parametrize(
    ("changed", "who", "change"),
    [
        (
            {},
            "CN (AS64496 in asn.mmdb): api denies list:dc (policy.yaml:38)",
            "to let it in: list:dc without AS64496, or allow: [1.2.3.4]",
        ),
        (
            {"line": "group:bad", "region": None},
            "1.2.3.4 (list:dc: AS64496 in asn.mmdb): api denies group:bad (policy.yaml:38)",
            "to let it in: list:dc without AS64496, or allow: [1.2.3.4]",
        ),
        (
            {"drawn": [{**DRAWN, "what": "vpn 50"}], "would_drop": False, "verdict": "accept"},
            "CN (vpn 50 in asn.mmdb): api allows list:dc (policy.yaml:38)",
            "to drop it: allow without list:dc, or deny: [1.2.3.4]",
        ),
        # The addresses of a prefix may be in a list for different reasons.
        (
            {"asked": "1.2.3.0/24", "about": "prefix"},
            "CN: api denies list:dc (policy.yaml:38)",
            "to let it in: deny without list:dc, or allow: [1.2.3.0/24]",
        ),
    ],
)
def test_what_a_list_was_drawn_from(changed: dict[str, Any], who: str, change: str) -> None:
    """The network or trait and the database are named, and the list, if the line of the policy does not name it."""
    assert one(**{**BY_LIST, **changed}).partition("  ")[2].strip() == f"{who}; {change}"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {},
            (
                "DROP    CN: no line of api allows it (default: deny, policy.yaml:38); "
                "to let it in: allow: [CN], or only [1.2.3.4]"
            ),
        ),
        (
            {"region": "unknown", "rung": "unknown", "line": "unknown: deny"},
            (
                "DROP    unknown: no database has a country for it (unknown: deny, policy.yaml:38, of api); "
                "to let it in: allow: [1.2.3.4]"
            ),
        ),
        (
            {"rung": "country", "line": "CN"},
            "DROP    CN: api denies CN (policy.yaml:38); to let it in: deny without CN, or allow: [1.2.3.4]",
        ),
        (
            {"rung": "country", "line": "group:embargo"},
            (
                "DROP    CN: api denies group:embargo (policy.yaml:38); "
                "to let it in: deny without group:embargo, or allow: [1.2.3.4]"
            ),
        ),
        (
            {"rung": "prefix", "line": "1.2.3.0/24"},
            (
                "DROP    CN: api denies 1.2.3.0/24 (policy.yaml:38); "
                "to let it in: deny without 1.2.3.0/24, or allow: [1.2.3.4]"
            ),
        ),
        (
            {"rung": "prefix", "line": "1.2.3.4"},
            "DROP    CN: api denies 1.2.3.4 (policy.yaml:38); to let it in: deny without 1.2.3.4",
        ),
        (
            {"rung": "prefix", "line": "list:scanners", "region": None},
            "DROP    1.2.3.4: api denies list:scanners (policy.yaml:38); to let it in: take it out of list:scanners",
        ),
        (
            {"address": "2400::1", "asked": "[2400::1]:443"},
            (
                "DROP    CN: no line of api allows it (default: deny, policy.yaml:38); "
                'to let it in: allow: [CN], or only ["2400::1"]'
            ),
        ),
        (
            {"address": "2002:102:304::", "asked": "2002:102:304::", "embedded": "1.2.3.4"},
            (
                "DROP    1.2.3.4 inside 2002:102:304::, CN: no line of api allows it (default: deny, policy.yaml:38); "
                "to let it in: allow: [CN], or only [1.2.3.4]"
            ),
        ),
        (
            {"verdict": "accept", "mode": "monitor"},
            (
                "ACCEPT  CN: no line of api allows it (default: deny, policy.yaml:38); but api only counts "
                "(mode: monitor); to let it in: allow: [CN], or only [1.2.3.4]"
            ),
        ),
        (
            {"verdict": "accept", "mode": "monitor", "starts": "2030-01-01T00:00:00Z"},
            (
                "ACCEPT  CN: no line of api allows it (default: deny, policy.yaml:38); but api drops nothing before "
                "2030-01-01T00:00:00Z; to let it in: allow: [CN], or only [1.2.3.4]"
            ),
        ),
        (
            {**PASSES, "rung": "country", "line": "group:supported"},
            (
                "ACCEPT  CN: api allows group:supported (policy.yaml:38); "
                "to drop it: allow without group:supported, or deny: [1.2.3.4]"
            ),
        ),
        (
            {**PASSES, "line": "default: allow"},
            (
                "ACCEPT  CN: no line of api denies it (default: allow, policy.yaml:38); "
                "to drop it: deny: [CN], or only [1.2.3.4]"
            ),
        ),
        (
            {**PASSES, "rung": "unknown", "line": "unknown: allow", "region": "unknown"},
            (
                "ACCEPT  unknown: no database has a country for it (unknown: allow, policy.yaml:38, of api); "
                "to drop it: deny: [1.2.3.4]"
            ),
        ),
        (
            {**PASSES, "rung": "never-drop", "line": "never_drop: 1.0.0.0/8"},
            "ACCEPT  api never drops it (never_drop: 1.0.0.0/8, policy.yaml:38)",
        ),
        (
            {**PASSES, "rung": "special", "line": "special", "place": None},
            "ACCEPT  special, so neither of a country nor unknown: api lets it pass",
        ),
        (
            {"asked": "1.2.3.0/24", "addresses": 256, "address": "1.2.3.0"},
            (
                "DROP    CN: no line of api allows it (default: deny, policy.yaml:38); "
                "to let it in: allow: [CN], or only [1.2.3.0/24]"
            ),
        ),
    ],
)
def test_verdict_line_and_change(changed: dict[str, Any], line: str) -> None:
    """A line has the verdict, then the deciding line of the policy and its place, then what to write instead."""
    assert one(**changed) == line


def test_a_correction_is_named_where_the_region_decides() -> None:
    """The region is that of the policy, so what the databases say is said with it."""
    correction = {"prefix": "1.2.3.0/24", "country": "CN", "was": ["US"], "place": "policy.yaml:9"}
    said = one(correction=correction)
    assert said.startswith("DROP    CN by corrections (policy.yaml:9; the databases say US): no line of api allows it")
    assert "corrections" not in one(correction=correction, rung="prefix", line="1.2.3.0/24")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "region  if it is not in CN: corrections: {1.2.3.4: DE}, with its country for DE"),
        (
            {"region": "unknown", "rung": "unknown"},
            "region  if its country is known: corrections: {1.2.3.4: DE}, with its country for DE",
        ),
        ({"asked": "1.2.3.4/24"}, "region  if it is not in CN: corrections: {1.2.3.0/24: DE}, with its country for DE"),
        (
            {"asked": "2400::1", "address": "2400::1"},
            'region  if it is not in CN: corrections: {"2400::1": DE}, with its country for DE',
        ),
        (PASSES, None),
        ({"rung": "prefix", "line": "list:scanners"}, None),
        ({"region": None}, None),
    ],
)
def test_what_to_write_if_the_region_is_wrong(changed: dict[str, Any], line: str | None) -> None:
    """An address that is denied for its region: the database may be what is wrong, and not the policy."""
    [_, *rest] = told([{**ANSWER, **changed}], several=False)
    assert rest == ([line] if line else [])


def test_parts_of_a_prefix() -> None:
    """Addresses that are judged alike share one line, with one of them and their number."""
    asked = {"asked": "1.2.0.0/22"}
    answers = [
        {**ANSWER, **asked, "address": "1.2.0.0", "addresses": 512},
        {**ANSWER, **asked, "address": "1.2.2.0", "addresses": 256, **PASSES, "rung": "country", "line": "DE"},
        {**ANSWER, **asked, "address": "1.2.3.0", "addresses": 256, "zone": 8},
    ]
    assert list(told(answers, several=True)) == [
        "1.2.0.0/22",
        (
            "DROP    CN: no line of api allows it (default: deny, policy.yaml:38); such as 1.2.0.0 "
            "(768 of 1,024 addresses)"
        ),
        "ACCEPT  CN: api allows DE (policy.yaml:38); such as 1.2.2.0 (256 of 1,024 addresses)",
    ]
    inside = [
        {**ANSWER, "asked": "2002::/16", "addresses": None, "embedded": "x", "address": a} for a in ("2002::", "b")
    ]
    assert list(told(inside, several=False)) == [
        "DROP    an address inside it, CN: no line of api allows it (default: deny, policy.yaml:38); such as 2002::"
    ]


def test_the_kernel_agrees_or_not() -> None:
    """If the kernel agrees, one line says so for all services; otherwise each difference is a line with a next step.

    For another time than now, only the result of the ladder is compared.
    """
    answers = [{**ANSWER, "kernel": KERNEL}, {**ANSWER, "service": "web", "kernel": {**KERNEL, "verdict": "accept"}}]
    assert list(told(answers[:1], several=False))[-1] == "kernel  agrees (generation 41)"
    differs, step = list(told(answers, several=False))[-2:]
    assert differs == "kernel  differs for web: accept (1.2.3.4, map g41-api.ipv4)"
    assert step.startswith("next    geodrop reload repairs it now, the daemon by itself within an hour")
    by_hand = [one | {"daemon": False} for one in answers]
    assert list(told(by_hand, several=False))[-1].startswith(
        "next    no daemon repairs it: geodrop load with the file of ruleset 9a41c07be212"
    )
    assert list(told(answers, several=False, then=True))[-1] == "kernel  agrees (generation 41)"
    wrong = {**ANSWER, "kernel": {**KERNEL, "would_drop": None}}
    assert list(told([wrong], several=False, then=True))[-2].startswith("kernel  differs for api: drop")


def test_how_it_came_only_when_asked_for() -> None:
    """Zones, records and the names of maps are printed only with -v."""
    answers = [{**ANSWER, "record": {"country": "CN"}, "kernel": KERNEL}]
    assert not any("zone" in line or "g41" in line for line in told(answers, several=False))
    assert [line for line in told(answers, several=False, verbose=True) if line.startswith(" ")] == [
        "        api: rung default, zone 7, mode enforce",
        "        database record: {'country': 'CN'}",
        "        kernel: drop (map g41-api.ipv4 -> g41-api.CN)",
    ]


EXEMPTED = {"source": "1.2.3.4", "until": "16:05:12Z", "user": "alice", "why": "CASE-7"}


def test_an_exemption_comes_first() -> None:
    """What the policy says follows, as if there were no exemption; the kernel says that the address passes."""
    kernel = KERNEL | {"verdict": "accept"}
    lines = list(told([{**ANSWER, "verdict": "accept", "exempted": EXEMPTED, "kernel": kernel}], several=False))
    assert lines[0] == "ACCEPT  api: exempted until 16:05:12Z by alice (CASE-7); else DROP"
    assert lines[1].startswith("DROP    CN: no line of api allows it")
    assert lines[-1] == "kernel  agrees (generation 41)"
    unknown = EXEMPTED | {"user": None, "why": None}
    first, *_ = told([{**ANSWER, "verdict": "accept", "mode": "monitor", "exempted": unknown}], several=False)
    assert first == "ACCEPT  api: exempted until 16:05:12Z; else ACCEPT"


@pytest.mark.parametrize(
    ("changed", "told_of_it"),
    [
        (
            {"bucket": 4_711, "share": 1_000, "dropped_from": "2024-07-11T00:00:00Z"},
            "; but api drops only 10% of such sources: bucket 4,711 of 10,000, dropped from 2024-07-11T00:00:00Z on",
        ),
        ({"bucket": 4_711, "share": 1_000}, "; but api drops only 10% of such sources: bucket 4,711 of 10,000"),
        (
            {"bucket": 4_711, "share": 0, "mode": "monitor", "dropped_from": "2024-07-11T00:00:00Z"},
            "; but api drops nothing yet, and this source from 2024-07-11T00:00:00Z on",
        ),
    ],
)
def test_outside_the_share(changed: dict[str, object], told_of_it: str) -> None:
    """The bucket, and from when it is dropped."""
    line = one(verdict="accept", **changed)
    assert line.startswith("ACCEPT  CN: no line of api allows it (default: deny, policy.yaml:38)")
    assert told_of_it in line


def test_tests_of_the_policy_are_named_once_with_their_places() -> None:
    """Below the verdict come the tests about the question; beyond five they are counted."""
    tests: list[dict[str, Any]] = [
        {"expect": "drop", "prefix": "1.2.0.0/16", "region": None, "place": "policy.yaml:22"},
        {"expect": "region", "prefix": "1.2.3.4/32", "region": "CN", "place": "policy.yaml:23"},
    ]
    [_, _, *lines] = told([{**ANSWER, "tests": tests, "kernel": KERNEL}, {**ANSWER, "tests": tests}], several=False)
    assert lines == [
        "test    expect drop: 1.2.0.0/16 (policy.yaml:22, of api)",
        "test    expect region: 1.2.3.4/32 CN (policy.yaml:23, of api)",
        "kernel  agrees (generation 41)",
    ]
    many = [{**tests[0], "place": f"policy.yaml:{number}"} for number in range(30, 40)]
    [_, _, *lines] = told([{**ANSWER, "tests": many}], several=False)
    assert len(lines) == 6
    assert lines[-1] == "test    and 5 more under expect"
