# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.ruleset.explained import told
from tests.unit.ruleset.test_explained import ANSWER, KERNEL

REGION: dict[str, Any] = ANSWER | {
    "asked": "CN",
    "about": "country",
    "subject": "CN",
    "addresses": 3_000,
    "ipv4_share": 0.75,
    "ipv6_48s": 1_204,
    "not_counted": 0,
    "corrections": [],
    "rung": "country",
    "line": "CN",
}
PASSES = {"would_drop": False, "verdict": "accept"}
NEVER = REGION | PASSES | {"rung": "never-drop", "line": "never_drop: 1.0.0.0/24", "addresses": 1_000, "ipv6_48s": 0}


def lines(*answers: dict[str, Any]) -> list[str]:
    """Return the lines for answers about one region."""
    return list(told(answers, several=False))


def test_how_much_is_dropped_and_by_what() -> None:
    """A line for each line of the policy, with how much of the region it decides about; then the kernel."""
    assert lines(
        REGION | {"kernel": KERNEL}, NEVER | {"kernel": {**KERNEL, "verdict": "accept", "would_drop": False}}
    ) == [
        (
            "DROP    api denies CN (policy.yaml:38): 3,000 IPv4 addresses (75.0% of CN), 1,204 IPv6 /48s; "
            "to let it in: deny without CN"
        ),
        "ACCEPT  api never drops it (never_drop: 1.0.0.0/24, policy.yaml:38): 1,000 IPv4 addresses (25.0% of CN)",
        "kernel  agrees (generation 41)",
    ]


@pytest.mark.parametrize(
    ("changed", "change"),
    [
        ({"line": "group:embargo"}, "to let it in: take CN out of group:embargo"),
        ({"rung": "default", "line": "default: deny"}, "to let it in: allow: [CN]"),
        ({"rung": "continent", "line": "continent:AS"}, "to let it in: allow: [CN]"),
        ({"rung": "subdivision", "line": "CN-BJ"}, "to let it in: deny without CN-BJ"),
        ({"asked": "group:x", "subject": "group:x", "about": "group"}, "to let it in: deny without CN"),
        (
            {"asked": "group:x", "subject": "group:x", "about": "group", "rung": "default", "line": "default: deny"},
            "to let it in: allow: [group:x]",
        ),
        (
            {"asked": "unknown", "subject": "unknown", "about": "unknown", "rung": "unknown", "line": "unknown: deny"},
            "to let it in: unknown: allow",
        ),
        ({**PASSES, "rung": "default", "line": "default: allow"}, "to drop it: deny: [CN]"),
    ],
)
def test_what_to_change(changed: dict[str, Any], change: str) -> None:
    """A line that names the region goes before the broader rungs; on its own rung the line that decides has to go."""
    [line] = lines(REGION | changed)
    assert line.endswith(f"; {change}")


def test_regions_are_named_where_there_are_several() -> None:
    """The regions of a continent or group are named, at most five of them."""
    asked = REGION | {"asked": "continent:AS", "subject": "continent:AS", "about": "continent", "line": "group:embargo"}
    answers = [asked | {"region": region} for region in ("CN", "HK", "IR", "KP", "MO", "SY")]
    [line] = lines(*answers)
    assert "18,000 IPv4 addresses (all of continent:AS), 7,224 IPv6 /48s (CN, HK, IR, KP, MO and 1 more)" in line


def test_nearly_all_is_not_all() -> None:
    """A share is never rounded to all or to nothing."""
    most, little = lines(REGION | {"addresses": 10**9}, NEVER | {"addresses": 1})
    assert "(>99.9% of CN)" in most
    assert "(<0.1% of CN)" in little


def test_notes() -> None:
    """What the figures leave out, another region than the one asked for, and corrections are said."""
    corrections = [
        {"prefix": f"1.0.{number}.0/24", "country": "US", "was": ["CN"], "place": "policy.yaml:4"}
        for number in range(7)
    ]
    changed = {"asked": "CN-BJ", "about": "subdivision", "not_counted": 1_024, "corrections": corrections}
    _, *notes = lines(REGION | changed)
    assert notes[0] == "note    CN-BJ is not told apart from the rest of CN: this is CN as a whole"
    assert notes[1].startswith("note    left out: 1,024 IPv4 addresses that prefixes and lists decide about")
    assert notes[2] == "note    1.0.0.0/24 counts as US, and not as CN (corrections, policy.yaml:4)"
    assert len(notes) == 8
    assert notes[-1] == "note    there are more corrections; --json has them"


def test_a_territory_is_what_was_asked_for() -> None:
    """Its name is no code, and is still not told as another region; what drops it is a line with its name."""
    changed = {"asked": "territory:crimea", "subject": "territory:crimea", "about": "subdivision", "rung": "country"}
    (line,) = lines(REGION | changed | {"would_drop": False, "verdict": "accept", "not_counted": 0, "corrections": []})
    assert line.endswith("to drop it: deny: [territory:crimea]")


def test_only_ipv6() -> None:
    """A region without IPv4 has no share of it; one without anything that is counted is named by an address."""
    [line] = lines(REGION | {"addresses": 0, "ipv4_share": 0.0})
    assert ": 1,204 IPv6 /48s; to let it in" in line
    [line] = lines(REGION | {"addresses": 0, "ipv4_share": 0.0, "ipv6_48s": 0, "address": "2400::"})
    assert ": 2400:: and what is around it; to let it in" in line
