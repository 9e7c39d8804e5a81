# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.compile.build import doubts
from geodrop.errors import PolicyError
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.explain import explain
from geodrop.ruleset.model import Reason, Ruleset
from tests.support.databases import country, write_database
from tests.support.worlds import compile_ruleset, regions

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.policy.model import Policy

PLACES = {"1.0.0.0/8": country("CN"), "2.0.0.0/8": country("US"), "2600::/16": country("US")}
NETWORKS = {"2.0.0.0/16": {"autonomous_system_number": 64496}, "2.1.0.0/16": {"autonomous_system_number": 64497}}
HIDDEN = {
    "2.0.0.0/24": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 60},
    "2.0.1.0/24": {"is_anonymous": True, "is_hosting_provider": True},
}
PRIVACY = {"2.2.0.0/16": {"vpn": True, "hosting": False}}

LISTS = "lists: {carriers: {asn: [64496, 64497]}, hidden: {traits: [{vpn: 50}, hosting]}}\n"
API = "services:\n  api:\n    match: {ports: {tcp: [443]}}\n    default: allow\n    unknown: allow\n"


def parsed(text: str) -> Policy:
    """Return a policy without its version."""
    return load_policy(f"version: 1\n{text}".encode(), "policy.yaml", lambda name: name.encode())[0]


def opened(folder: Path, *files: dict[str, Any]) -> list[Database]:
    """Write databases and read them."""
    paths = [write_database(folder / f"{number}.mmdb", records) for number, records in enumerate(files)]
    return [Database.open(path.read_bytes(), path.name) for path in paths]


def compiled(folder: Path, text: str, *files: dict[str, Any]) -> Ruleset:
    """Compile a policy with databases of these records."""
    return Ruleset.unpack(compile_ruleset(parsed(text), opened(folder, *files)), "test")


def test_explain_names_network_trait_and_database(tmp_path: Path) -> None:
    """The ruleset alone says what put an address into the list that decides, and no other list."""
    text = LISTS + API + "    allow: ['list:carriers']\n    deny: ['list:hidden']\n"
    ruleset = compiled(tmp_path, text, PLACES, NETWORKS, HIDDEN)

    def said(address: str) -> tuple[str, str | None, tuple[Reason, ...]]:
        (found,) = explain(ruleset, ip_address(address), 0.0)
        return found.rung, found.counted_as, found.drawn

    assert said("2.0.0.1") == ("list", "list:hidden", (Reason("hidden", "vpn 50", "2.mmdb"),))
    assert said("2.0.1.1") == ("list", "list:hidden", (Reason("hidden", "hosting", "2.mmdb"),))
    assert said("2.0.2.1") == ("list", "list:carriers", (Reason("carriers", "AS64496", "1.mmdb"),))
    assert said("2002:200:1::1") == ("list", "list:hidden", (Reason("hidden", "vpn 50", "2.mmdb"),))
    assert said("2.9.0.1") == ("default", "US", ())
    assert {reason.database for mark in ruleset.meta.drawn for reason in mark} == {"1.mmdb", "2.mmdb"}


def test_thousands_of_networks_are_one_zone(tmp_path: Path) -> None:
    """Zones tell lists apart and not what they were drawn from, so that long lists do not exhaust them."""
    many = {f"2.{at // 256}.{at % 256}.0/24": {"autonomous_system_number": at + 1} for at in range(3_000)}
    text = f"lists: {{many: {{asn: {[*range(1, 3_001)]}}}}}\n{API}    deny: ['list:many', CN]\n"
    ruleset = compiled(tmp_path, text, PLACES, many)
    assert len(ruleset.meta.drawn) == 3_001
    assert len(ruleset.meta.zones) < 20
    (found,) = explain(ruleset, ip_address("2.0.7.1"), 0.0)
    assert found.drawn == (Reason("many", "AS8", "1.mmdb"),)


def test_moving_a_list_changes_rows_and_no_address_space(tmp_path: Path) -> None:
    """Zones and intervals are the same whether a list is allowed or denied."""
    files = PLACES, NETWORKS, HIDDEN
    one, other = (
        compiled(tmp_path, f"{LISTS}{API}    deny: [CN, 'list:{deny}']\n    allow: ['list:{allow}']\n", *files)
        for deny, allow in (("carriers", "hidden"), ("hidden", "carriers"))
    )
    same = ("ipv4/starts", "ipv4/zones", "ipv6/starts", "ipv6/zones", "drawn/ipv4/starts", "drawn/ipv4/marks")
    assert [bytes(one.sections[name]) for name in same] == [bytes(other.sections[name]) for name in same]
    assert bytes(one.sections["rows"]) != bytes(other.sections["rows"]) or one.meta.rows != other.meta.rows


def test_a_policy_without_such_lists_has_no_such_sections(tmp_path: Path) -> None:
    """Databases that nothing is drawn from leave no trace but their names."""
    ruleset = compiled(tmp_path, API + "    deny: [CN]\n", PLACES, NETWORKS)
    assert ruleset.meta.drawn == ()
    assert not [name for name in ruleset.sections if name.startswith("drawn")]
    assert [one.name for one in ruleset.meta.inputs] == ["0.mmdb", "1.mmdb"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((PLACES,), '2:9: error: list "carriers": no loaded database has numbers of networks (ASN); add one that does'),
        ((PLACES, NETWORKS), '2:61: error: list "hidden": no loaded database says of any address that it is vpn; add'),
        ((PLACES, NETWORKS, PRIVACY), '2:61: error: list "hidden": 2.mmdb has no confidence for vpn; write vpn alone'),
    ],
)
def test_a_list_that_no_database_fills_is_refused(tmp_path: Path, files: tuple[dict[str, Any], ...], said: str) -> None:
    """It would never match, and nobody would notice; the error has the line of the list or of the trait."""
    with pytest.raises(PolicyError) as failure:
        compiled(tmp_path, LISTS + API + "    deny: ['list:hidden', 'list:carriers']\n", *files)
    assert f"policy.yaml:{said}" in str(failure.value)


def test_networks_that_no_database_has_are_a_warning(tmp_path: Path) -> None:
    """They may have been given back, or be misspelt; the list works without them."""
    text = f"lists: {{l: {{asn: {[64_496, *range(10, 20)]}}}}}\n{API}    deny: ['list:l']\n"
    policy = parsed(text)
    (problem,) = doubts(policy, regions(opened(tmp_path, PLACES, NETWORKS), {}))
    assert (problem.severity, problem.place.line) == ("warning", 2)
    assert problem.message == (
        'list "l": no loaded database has an address of AS10, AS11, AS12, AS13, AS14, AS15, AS16, AS17 and 2 more; '
        "check the numbers"
    )


def test_a_database_without_the_confidence_is_named(tmp_path: Path) -> None:
    """Beside one that has it, what it says of the trait does not count."""
    policy = parsed("lists: {l: {traits: [{vpn: 50}]}}\n" + API + "    deny: ['list:l']\n")
    databases = opened(tmp_path, PLACES, HIDDEN, PRIVACY)
    (problem,) = doubts(policy, regions(databases, {}))
    assert problem.message == 'list "l": 2.mmdb has no confidence for vpn, so what it says does not count'
    ruleset = Ruleset.unpack(compile_ruleset(policy, databases), "test")
    found = [next(explain(ruleset, ip_address(text), 0.0)).would_drop for text in ("2.0.0.1", "2.2.0.1")]
    assert found == [True, False]
