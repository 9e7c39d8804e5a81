# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.unit.policy.policies import SERVICE, load, said


def service(name: str, keys: str = "") -> str:
    """Return one entry of `services:` with further keys."""
    return f"  {name}: {{default: allow, unknown: allow{', ' + keys if keys else ''}}}\n"


def api(allow: str, deny: str = "[]") -> str:
    """Return one service with `allow` in the fifth line, items from column 13, and `deny` in the sixth, from 12."""
    return f"services:\n  api:\n    default: allow\n    unknown: allow\n    allow: {allow}\n    deny: {deny}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("group:eeaa", 'there is no group "eeaa"; did you mean "eea"?'),
        ("list:partner", 'there is no list "partner"; did you mean "partners"?'),
        ("list:eea", 'there is no list "eea"; write one of: partners'),
        ("group:partners", 'there is no group "partners"; write one of: eea'),
    ],
)
def test_unknown_names(line: str, message: str) -> None:
    """A line in a service or group that names an unknown group or list is an error with a suggestion."""
    groups, lists = "groups: {eea: [DE]}\n", "lists: {partners: {prefixes: [9.9.9.9]}}\n"
    assert said(groups + lists + api(f"[{line}]")) == [f"8:13: error: {message}"]
    assert said(groups.replace("DE", f"DE, {line}") + lists + SERVICE) == [f"2:20: error: {message}"]


def test_unknown_name_without_any() -> None:
    """If there is no group at all, the message says where to write one."""
    assert said(api("[group:x]")) == ['6:13: error: there is no group "x"; write it under groups']


@pytest.mark.parametrize(
    ("groups", "messages"),
    [
        ("{a: [group:a]}", ['2:14: error: group "a" holds itself (a > a); remove this line']),
        ("{a: [group:b], b: [group:a]}", ['2:28: error: group "a" holds itself (a > b > a); remove this line']),
        (
            "{z: [group:a], a: [group:b], b: [group:c], c: [US, group:a]}",
            ['2:60: error: group "a" holds itself (a > b > c > a); remove this line'],
        ),
        (
            "{a: [group:b, group:c], b: [group:a], c: [group:a]}",
            [
                '2:37: error: group "a" holds itself (a > b > a); remove this line',
                '2:51: error: group "a" holds itself (a > c > a); remove this line',
            ],
        ),
        ("{a: [group:b, group:c], b: [group:d], c: [group:d], d: [US]}", []),
    ],
)
def test_cycles(groups: str, messages: list[str]) -> None:
    """Every cycle is one error, in the line that closes it; two ways to one group are no cycle."""
    assert [message for message in said(f"groups: {groups}\n{SERVICE}") if ": error: " in message] == messages


def test_deep_groups_do_not_use_the_stack() -> None:
    """Ten thousand groups inside each other are checked without recursion."""
    groups = "".join(f"  g{n}: [group:g{n + 1}]\n" for n in range(10_000))
    policy, warnings = load(f"groups:\n{groups}  g10000: [US]\n" + api("[group:g0]"))
    assert len(policy.groups) == 10_001
    assert not warnings


@pytest.mark.parametrize(
    ("allow", "deny", "message"),
    [
        (
            "[US, CN]",
            "[CN]",
            '7:12: error: CN is in allow and in deny of service "api" (line 6); remove one of the two',
        ),
        ("[9.9.9.9]", "[9.9.9.9/32]", "7:12: error: 9.9.9.9/32 is in allow and in deny"),
        ("['2A00::/16']", "['2a00::/16']", "7:12: error: 2a00::/16 is in allow and in deny"),
        ("['continent:EU']", "['continent:EU']", "7:12: error: continent:EU is in allow and in deny"),
    ],
)
def test_the_same_line_in_allow_and_deny(allow: str, deny: str, message: str) -> None:
    """The same text in allow and deny is an error, at the later of the two."""
    (found,) = said(api(allow, deny))
    assert found.startswith(message)


def test_the_same_group_or_list_in_allow_and_deny() -> None:
    """The same group or list in allow and deny is an error too."""
    head = "groups: {g: [US]}\nlists: {l: {prefixes: [9.9.9.9]}}\n"
    found = said(head + api("['group:g', 'list:l']", "['group:g', 'list:l']"))
    assert [message.split("; ")[0] for message in found if ": error: " in message] == [
        '9:12: error: group:g is in allow and in deny of service "api" (line 8)',
        '9:23: error: list:l is in allow and in deny of service "api" (line 8)',
    ]


@pytest.mark.parametrize(
    ("allow", "deny", "message"),
    [
        ("[group:g]", "[US, group:h]", 'group:g allows US, which US (line 8) denies in service "api": deny wins; '),
        ("[US, group:g]", "[group:h]", 'US allows US, which group:h (line 8) denies in service "api": deny wins; '),
        (
            "[group:g]",
            "[group:h]",
            'group:g allows US, CA, which group:h (line 8) denies in service "api": deny wins; ',
        ),
        ("[group:g]", "[group:i]", "group:g allows US, CA, DE, FR, NO and 2 more, which group:i (line 8) denies"),
    ],
)
def test_overlap_through_groups_is_a_warning(allow: str, deny: str, message: str) -> None:
    """An overlap through groups may be intended, so it is a warning, once for each pair of lines; deny wins."""
    groups = "groups: {g: [US, CA, DE, FR, NO, SE, FI, UA-43], h: [US, CA, UA], i: [FI, SE, NO, FR, DE, CA, US]}\n"
    found = [text for text in said(groups + api(allow, deny)) if "no service uses" not in text]
    assert any(text.startswith(f"7:13: warning: {message}") for text in found)
    assert all(": warning: " in text for text in found)


def test_levels_do_not_contradict_each_other() -> None:
    """An allowed country with a denied subdivision is no contradiction."""
    assert said(api("[UA, continent:EU, 9.9.9.0/24]", "[UA-43, DE, 9.9.9.9]")) == []


@pytest.mark.parametrize(
    ("one", "other", "packets"),
    [
        ("match: {ports: {tcp: [443]}}", "match: {ports: {tcp: [80-500]}}", "tcp/443"),
        ("match: {protocols: [icmp]}", "match: {addresses: [9.9.9.9]}", "protocol 1 to 9.9.9.9/32"),
        ("", "", "every packet that no other service takes"),
        ("match: {ports: {tcp: [443]}}", "", None),
        ("match: {ports: {tcp: [443]}}", "match: {ports: {tcp: [443]}}, mode: monitor", None),
        (
            "match: {ports: {tcp: [443]}}, starts: 2099-01-01T00:00:00Z",
            "match: {ports: {tcp: [443]}}, starts: 2000-01-01T00:00:00Z",
            "tcp/443",
        ),
    ],
)
def test_two_enforced_services_and_one_packet(one: str, other: str, packets: str | None) -> None:
    """Two enforced services may not take one packet, whatever `starts` says; services in monitor may overlap any."""
    found = said("services:\n" + service("one", one) + service("two", other))
    expected = f'4:3: error: service "two" and service "one" (line 3) both take {packets}; narrow the match of one, or '
    assert found == ([] if packets is None else [expected + "give one mode: monitor"])


def test_a_match_that_cannot_be_read_overlaps_nothing() -> None:
    """A match that cannot be read is one error, without a second error about overlaps."""
    found = said("services:\n" + service("one", "match: {ports: {tcp: [http]}}") + service("two"))
    assert len(found) == 1


def test_too_many_services() -> None:
    """The number of services is limited, because every pair is compared."""
    found = said("services:\n" + "".join(service(f"s{n}", "mode: monitor") for n in range(1_001)))
    assert found == ["1003:3: error: 1,001 services, 1,000 is the most; join some of them"]


def test_unused_names() -> None:
    """Groups and lists that no service uses, not even through other groups, give a warning."""
    head = "groups: {a: [group:b], b: [US], c: [CA]}\nlists: {l: {prefixes: [9.9.9.9]}}\n"
    assert said(head + api("[group:a]")) == [
        '2:33: warning: no service uses group "c"; remove it, or name it in a line',
        '3:9: warning: no service uses list "l"; remove it, or name it in a line',
    ]


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ("territory:crimea", "UA-43", ["territory:crimea allows UA-43, which UA-43 (line 7) denies"]),
        ("UA-40", "territory:crimea", ["UA-40 allows UA-40, which territory:crimea (line 7) denies"]),
        ("atlas:g7", "atlas:eu", ["atlas:g7 allows DE, FR, IT, which atlas:eu (line 7) denies"]),
        ("UA", "territory:crimea", []),
    ],
)
def test_entries_of_the_atlas_that_contradict_lines(allow: str, deny: str, expected: list[str]) -> None:
    """What is under allow and deny at once is named by its codes; deny wins."""
    found = [one for one in said(api(f"[{allow}]", f"[{deny}]")) if "allows" in one]
    assert [one.partition("warning: ")[2].partition(" in service")[0] for one in found] == expected


def test_one_entry_of_the_atlas_on_both_sides() -> None:
    """As with any line, the same text in allow and deny is an error."""
    (error,) = [one for one in said(api("[territory:crimea]", "[territory:crimea]")) if ": error: " in one]
    assert "territory:crimea is in allow and in deny" in error
