# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.errors import HeldError
from geodrop.plan.limits import HeldLimit, held_by, held_error, scaled, unknown
from geodrop.plan.operators import SshPeer
from geodrop.ruleset.model import Input
from tests.support.worlds import WORLD
from tests.unit.plan.conftest import POLICY, differ

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset
    from tests.unit.plan.conftest import Compile

NOW = 1_700_000_000
DAY = 86_400
FREE = POLICY + "limits: {blast_radius: none}\n"
"""A policy without the limit that any change in this small world exceeds."""


def held(old: Ruleset, new: Ruleset, *operators: SshPeer) -> list[HeldLimit]:
    """Return what holds a change."""
    return held_by(old, new, differ(old, new), operators, NOW)


def limits(old: Ruleset, new: Ruleset, *operators: SshPeer) -> list[str]:
    """Return the names of the limits that hold a change."""
    return [one.limit for one in held(old, new, *operators)]


def with_database(ruleset: Ruleset, name: str = "new", **fields: Any) -> Ruleset:  # noqa: ANN401 - fields of Input
    """Return a ruleset as if its database were another one."""
    [policy, *_] = [one for one in ruleset.meta.inputs if one.kind == "policy"] or [
        Input("policy", "policy.yaml", "0" * 64)
    ]
    database = replace(
        Input("database", "country.mmdb", "a" * 64, "GeoLite2-Country", NOW - 10 * DAY, countries=("CN", "US")),
        **fields,
    )
    return replace(ruleset, digest=name, meta=replace(ruleset.meta, inputs=(policy, database)))


def test_blast_radius(ruleset: Compile) -> None:
    """A change beyond the policy's share is held, with the figure, the limit, its line, and what is newly dropped."""
    old = ruleset()
    deny = POLICY.replace("[CN]", "[CN, RU]")
    [found] = held(old, ruleset(f"{deny}limits:\n  blast_radius: 5%\n"))
    assert found.text == "api: 33.3% of IPv6 /48s would change, limit 5% (policy.yaml:9)"
    assert found.more == ("RU 16.8 M IPv4, 4.3 G IPv6 /48s newly dropped (policy.yaml:7 deny: RU)",)
    assert (found.service, found.allowed) == ("api", 0.05)
    assert found.value == pytest.approx(1 / 3)
    assert limits(old, ruleset(deny)) == ["blast_radius"], "5% if the policy says nothing"
    assert limits(old, ruleset(f"{deny}limits: {{blast_radius: 34%}}\n")) == []
    assert limits(old, ruleset(f"{deny}limits: {{blast_radius: none}}\n")) == []


def test_ipv4_alone_is_enough(ruleset: Compile) -> None:
    """The larger of both shares counts, whichever it is."""
    found = held(ruleset(), ruleset(POLICY.replace("[CN]", "[CN, 128.0.0.0/2]")))
    assert [one.text.partition(",")[0] for one in found] == ["api: 29.0% of IPv4 would change"]


def test_an_unblock_is_never_held(ruleset: Compile) -> None:
    """A change that only accepts more passes, however much that is; one that drops anything as well counts whole."""
    all_of_it, nothing = POLICY.replace("[CN]", "[CN, US, RU]"), POLICY.replace("[CN]", "[]")
    assert limits(ruleset(all_of_it), ruleset(nothing)) == []
    assert limits(ruleset(all_of_it), ruleset(POLICY.replace("[CN]", "[9.9.9.9]"))) == ["blast_radius"]


def test_monitor_may_do_anything(ruleset: Compile) -> None:
    """A service in monitor drops nobody, so that a policy can be tried; one that starts later will drop unasked."""
    deny = POLICY.replace("deny: [CN]", "deny: [CN, RU]\n    mode: monitor")
    old = ruleset(POLICY.replace("deny:", "mode: monitor\n    deny:"))
    assert limits(old, ruleset(deny)) == []
    later = POLICY.replace("deny: [CN]", "deny: [CN, RU]\n    starts: 2030-01-01T00:00:00Z")
    assert limits(ruleset(), ruleset(later)) == ["blast_radius"]


def test_monitor_to_enforce(ruleset: Compile) -> None:
    """A service that begins to drop is held: by its mode, or by a start that is taken away or set earlier."""
    monitor = ruleset(FREE.replace("deny:", "mode: monitor\n    deny:"))
    [found] = held(monitor, ruleset(FREE))
    assert (found.limit, found.service, found.value, found.allowed) == ("mode", "api", "enforce", "monitor")
    later = ruleset(FREE.replace("deny:", "starts: 2030-01-01T00:00:00Z\n    deny:"))
    assert limits(later, ruleset(FREE)) == ["mode"]
    assert limits(later, ruleset(FREE.replace("deny:", "starts: 2029-01-01T00:00:00Z\n    deny:"))) == []
    begun = ruleset(FREE.replace("deny:", "starts: 2020-01-01T00:00:00Z\n    deny:"))
    assert limits(begun, ruleset(FREE)) == []
    assert limits(ruleset(FREE), monitor) == []


def test_an_operator_would_be_locked_out(ruleset: Compile) -> None:
    """An SSH connection that would be dropped holds the change, if it passes now; never-drop keeps it safe."""
    russia, local = ip_address("5.0.0.1"), ip_address("192.0.2.1")
    old, new = ruleset(FREE), ruleset(FREE.replace("[CN]", "[CN, RU]"))
    [found] = held(old, new, SshPeer(russia, local, 2222))
    assert found.text == "your SSH connection from 5.0.0.1 (RU) would be dropped by api"
    assert (found.limit, found.value) == ("ssh_peer", "5.0.0.1")
    assert limits(old, new, SshPeer(russia, local, 22)) == []
    assert limits(old, new, SshPeer(ip_address("2.0.0.1"), local, 2222)) == []
    assert limits(new, ruleset(FREE.replace("[CN]", "[CN, RU, US]")), SshPeer(russia, local, 2222)) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"sha256": "b" * 64}, []),
        ({"sha256": "b" * 64, "build_epoch": NOW - 11 * DAY}, ["build_epoch"]),
        ({"sha256": "b" * 64, "build_epoch": NOW - 9 * DAY}, []),
        ({"sha256": "b" * 64, "database_type": "GeoLite2-City"}, ["database_type"]),
        ({"sha256": "b" * 64, "countries": ("US",)}, ["countries"]),
        ({"sha256": "b" * 64, "countries": ("CN", "RU", "US")}, []),
        ({"sha256": "b" * 64, "name": "other.mmdb", "countries": ("US",)}, ["countries"]),
        ({"sha256": "b" * 64, "build_epoch": NOW - 50 * DAY}, ["database_age", "build_epoch"]),
        ({"build_epoch": NOW - 50 * DAY}, []),
    ],
)
def test_another_database(ruleset: Compile, fields: dict[str, Any], expected: list[str]) -> None:
    """A database that is older, of another type, lacks a country or is too old holds the change; an unchanged one
    does not, however old it is.
    """
    aged = ruleset(f"{POLICY}limits: {{blast_radius: none, database_age: 45d}}\n")
    assert limits(with_database(aged, "old"), with_database(aged, **fields)) == expected


def test_what_the_text_says_of_a_database(ruleset: Compile) -> None:
    """The text has both figures, and names the countries."""
    same = ruleset(f"{POLICY}limits:\n  blast_radius: none\n  database_age: 45d\n")
    fields: dict[str, Any] = {
        "build_epoch": NOW - 50 * DAY,
        "database_type": "Other",
        "countries": ("US",),
        "sha256": "b" * 64,
    }
    said = [one.text for one in held(with_database(same, "old"), with_database(same, **fields))]
    assert said == [
        "country.mmdb is 50 days old, limit 45 (policy.yaml:10)",
        "country.mmdb was built 2023-09-25, before 2023-11-04 of the one in force",
        "country.mmdb is of type Other, the one in force is GeoLite2-Country",
        "country.mmdb has no address of CN any more",
    ]


def test_a_database_that_is_left_out(ruleset: Compile) -> None:
    """If a database is removed, the countries that only it had are gone."""
    old = with_database(ruleset(FREE), "old")
    other = Input("database", "second.mmdb", "c" * 64, "Other", NOW, countries=("US", "RU"))
    both = replace(old, digest="both", meta=replace(old.meta, inputs=(*old.meta.inputs, other)))
    [found] = held(both, replace(old, digest="new"))
    assert found.text == "without second.mmdb no database has an address of RU"
    assert limits(old, both) == []


def test_the_countries_are_in_the_ruleset(ruleset: Compile) -> None:
    """The compiler writes down which countries a database has, so that a host without it can compare."""
    china = {prefix: record for prefix, record in WORLD.items() if prefix.startswith(("1.", "24"))}
    old, new = ruleset(FREE), ruleset(FREE, china)
    assert old.meta.inputs[0].countries == ("CN", "RU", "US")
    assert "countries" in limits(old, new)


def test_the_same_bytes_are_never_held(ruleset: Compile) -> None:
    """What is in force already cannot be held."""
    same = ruleset()
    assert held(same, same, SshPeer(ip_address("1.0.0.1"), ip_address("192.0.2.1"), 443)) == []


def test_the_failure(ruleset: Compile) -> None:
    """The text has figures, the generation that stays and the one command that accepts; the code is 5."""
    new = ruleset(POLICY.replace("[CN]", "[CN, RU]"))
    found = held(ruleset(), new)
    failure = held_error([*found, *unknown("it is gone")], new.digest, 41)
    command = f"geodrop reload --accept {new.digest[:12]}"
    assert isinstance(failure, HeldError)
    assert (failure.exit_code, failure.next_step) == (5, command)
    assert failure.printed.splitlines() == [
        "held: api: 33.3% of IPv6 /48s would change, limit 5%; generation 41 stays",
        "  RU 16.8 M IPv4, 4.3 G IPv6 /48s newly dropped (policy.yaml:7 deny: RU)",
        "held: what would change is not known (it is gone)",
        f"  accept exactly this: {command}",
    ]
    assert failure.problem.endswith(f"; generation 41 stays; next: {command}")
    assert found[0].as_json(new.digest)["accept"] == new.digest[:12]


def test_many_regions_are_counted(ruleset: Compile) -> None:
    """Of many regions the largest are named."""
    prefixes = ", ".join(f"9.{number}.0.0/16" for number in range(9))
    [found] = held(ruleset(), ruleset(POLICY.replace("[CN]", f"[CN, RU, {prefixes}]")))
    assert len(found.more) == 4
    assert found.more[3] == "and 7 more: geodrop plan"


def test_numbers_for_a_person() -> None:
    """Small numbers are exact, and large ones are short."""
    assert [scaled(number) for number in (0, 1_204, 87_300_000, 1_600_000_000)] == ["0", "1,204", "87.3 M", "1.6 G"]
