# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_network

import pytest

from geodrop.policy.countries import Region
from geodrop.policy.ladder import Decision, Ladder, build_ladder
from geodrop.policy.model import Rung, Verdict
from tests.unit.policy.policies import load

ACCEPT, DROP = Verdict.ACCEPT, Verdict.DROP
CRIMEA = Region("UA", "UA-43", "EU")
UKRAINE = Region("UA", "", "EU")
EUROPE = Region("", "", "EU")
UNKNOWN = Region()


def ladder(text: str) -> Ladder:
    """Return the ladder of the only service of a policy."""
    policy, _ = load(text)
    return build_ladder(policy, policy.services[0])


def service(allow: str = "[]", deny: str = "[]", default: str = "allow", unknown: str = "deny") -> str:
    """Return a service with the given lines."""
    return f"services: {{api: {{default: {default}, unknown: {unknown}, allow: {allow}, deny: {deny}}}}}\n"


@pytest.mark.parametrize(
    ("region", "verdict", "rung", "line"),
    [
        (CRIMEA, DROP, Rung.SUBDIVISION, "UA-43"),
        (Region("UA", "UA-30", "EU"), ACCEPT, Rung.COUNTRY, "UA"),
        (UKRAINE, ACCEPT, Rung.COUNTRY, "UA"),
        (Region("DE", "", "EU"), DROP, Rung.CONTINENT, "continent:EU"),
        (EUROPE, DROP, Rung.CONTINENT, "continent:EU"),
        (Region("US", "", "NA"), DROP, Rung.DEFAULT, "default: deny"),
        (Region("", "", "NA"), ACCEPT, Rung.UNKNOWN, "unknown: allow"),
        (UNKNOWN, ACCEPT, Rung.UNKNOWN, "unknown: allow"),
    ],
)
def test_the_first_rung_that_applies_decides(region: Region, verdict: Verdict, rung: Rung, line: str) -> None:
    """Rungs decide in order; a record with only a continent matches only continent lines."""
    built = ladder(service(allow="[UA]", deny="[UA-43, continent:EU]", default="deny", unknown="allow"))
    assert built.decide(region) == Decision(verdict, rung, line)


def test_a_subdivision_can_be_allowed_in_a_denied_country() -> None:
    """The finer rung decides, whichever verdict it has."""
    built = ladder(service(allow="[UA-43]", deny="[UA]"))
    assert built.decide(CRIMEA).verdict is ACCEPT
    assert built.decide(UKRAINE).verdict is DROP


def test_a_subdivision_inside_another_answers_to_both_names() -> None:
    """Either level may be named; if both are, deny beats allow, and of two that allow the inner one is named."""
    london, leeds = Region("GB", "GB-ENG", "EU", "GB-LND"), Region("GB", "GB-ENG", "EU", "GB-LDS")
    outer = ladder(service(deny="[GB-ENG]"))
    assert outer.decide(london) == outer.decide(leeds) == Decision(DROP, Rung.SUBDIVISION, "GB-ENG")
    inner = ladder(service(deny="[GB-LND]"))
    assert inner.decide(london) == Decision(DROP, Rung.SUBDIVISION, "GB-LND")
    assert inner.decide(leeds).rung is Rung.DEFAULT
    for lines in (service(allow="[GB-ENG]", deny="[GB-LND]"), service(allow="[GB-LND]", deny="[GB-ENG]")):
        assert ladder(lines).decide(london).verdict is DROP
    assert ladder(service(allow="[GB-ENG, GB-LND]")).decide(london).line == "GB-LND"


def test_deny_beats_allow_on_one_rung() -> None:
    """A country that is allowed by a group and denied itself is denied, by the line that denies it."""
    built = ladder("groups: {g: [UA, US]}\n" + service(allow="[group:g]", deny="[UA]"))
    assert built.decide(UKRAINE) == Decision(DROP, Rung.COUNTRY, "UA")
    assert built.decide(Region("US", "", "NA")) == Decision(ACCEPT, Rung.COUNTRY, "group:g")


def test_the_line_is_the_one_of_the_service() -> None:
    """Through nested groups the line named is that of `allow` or `deny`, where an operator would change it."""
    built = ladder("groups: {outer: [group:inner], inner: [UA, 9.9.9.0/24]}\n" + service(deny="[group:outer]"))
    assert built.decide(UKRAINE).line == "group:outer"
    assert [(str(rule.network), rule.decision.line, rule.label) for rule in built.prefixes] == [
        ("9.9.9.0/24", "group:outer", "9.9.9.0/24")
    ]


def test_groups_mix_levels() -> None:
    """Each member of a group is judged on its own rung."""
    built = ladder("groups: {g: [UA-43, UA, continent:EU]}\n" + service(deny="[group:g]"))
    rungs = [built.decide(region).rung for region in (CRIMEA, UKRAINE, EUROPE)]
    assert rungs == [Rung.SUBDIVISION, Rung.COUNTRY, Rung.CONTINENT]


def test_prefixes_of_lines_and_lists() -> None:
    """Inline prefixes are counted under their own text, those of lists under the list; each network has one rule."""
    built = ladder(
        "lists: {bad: {prefixes: [9.9.9.0/24, 8.8.8.8]}}\n"
        + service(allow="[9.9.9.0/24, 8.8.0.0/16]", deny="['list:bad', '2A00::/16']")
    )
    assert {str(rule.network): (rule.decision.verdict, rule.decision.line, rule.label) for rule in built.prefixes} == {
        "9.9.9.0/24": (DROP, "list:bad", "list:bad"),
        "8.8.8.8/32": (DROP, "list:bad", "list:bad"),
        "2a00::/16": (DROP, "2A00::/16", "2A00::/16"),
        "8.8.0.0/16": (ACCEPT, "8.8.0.0/16", "8.8.0.0/16"),
    }
    assert all(rule.decision.rung is Rung.PREFIX for rule in built.prefixes)


def test_of_two_lines_the_one_written_first_is_named() -> None:
    """A network in two deny lines is counted under the first."""
    built = ladder("lists: {a: {prefixes: [9.9.9.9]}, b: {prefixes: [9.9.9.9]}}\n" + service(deny="[list:b, list:a]"))
    assert [(rule.network, rule.label) for rule in built.prefixes] == [(ip_network("9.9.9.9"), "list:b")]
