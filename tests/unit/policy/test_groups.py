# SPDX-License-Identifier: Apache-2.0
from geodrop.document.problems import Position
from geodrop.policy.groups import open_groups
from geodrop.policy.lines import parse_line
from geodrop.policy.model import Line

PLACE = Position("p", 1, 1)


def lines(*texts: str) -> tuple[Line, ...]:
    """Return lines from their texts."""
    return tuple(parse_line(text, PLACE) for text in texts)


def opened(groups: dict[str, tuple[Line, ...]], *texts: str) -> list[tuple[str, str]]:
    """Return pairs of line and member, as texts."""
    return [(line.text, member.text) for line, member in open_groups(groups, lines(*texts))]


def test_members_in_the_order_written() -> None:
    """Groups are opened in place, nested ones inside them."""
    groups = {"a": lines("US", "group:b", "list:x"), "b": lines("DE", "FR")}
    assert opened(groups, "JP", "group:a", "NO") == [
        ("JP", "JP"),
        ("group:a", "US"),
        ("group:a", "DE"),
        ("group:a", "FR"),
        ("group:a", "list:x"),
        ("NO", "NO"),
    ]


def test_a_group_is_opened_for_the_line_that_names_it_first() -> None:
    """A group is opened only for the first line that leads to it."""
    groups = {"a": lines("group:b"), "b": lines("DE")}
    assert opened(groups, "group:a", "group:b") == [("group:a", "DE")]


def test_cycles_and_unknown_groups_end() -> None:
    """Cycles and unknown groups end: groups are also opened in policies that will be refused."""
    groups = {"a": lines("group:b", "US"), "b": lines("group:a", "group:nowhere")}
    assert opened(groups, "group:a") == [("group:a", "US")]


def test_doubling_groups_do_not_explode() -> None:
    """Groups that each name the next one twice, 2^200 members if opened naively, are opened quickly."""
    groups = {"g0": lines("US")} | {f"g{n}": lines(f"group:g{n - 1}", f"group:g{n - 1}") for n in range(1, 200)}
    assert opened(groups, "group:g199") == [("group:g199", "US")]


def test_deep_groups_do_not_use_the_stack() -> None:
    """Ten thousand groups inside each other are opened without recursion."""
    groups = {"g0": lines("US")} | {f"g{n}": lines(f"group:g{n - 1}") for n in range(1, 10_000)}
    assert opened(groups, "group:g9999") == [("group:g9999", "US")]


def test_entries_of_the_atlas_lead_to_codes() -> None:
    """In a line and in a group, so that all who open lines see countries and subdivisions only."""
    found = open_groups({"g": lines("territory:sevastopol")}, lines("group:g", "atlas:five-eyes"))
    assert [(line.text, member.text) for line, member in found] == [
        ("group:g", "UA-40"),
        ("group:g", "RU-SEV"),
        *(("atlas:five-eyes", code) for code in ("AU", "CA", "GB", "NZ", "US")),
    ]
