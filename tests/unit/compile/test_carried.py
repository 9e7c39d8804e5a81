# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.compile.carried import absent
from geodrop.errors import PolicyError
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.explain import explain
from geodrop.ruleset.model import Ruleset
from tests.support.databases import city, country, write_database
from tests.support.worlds import compile_ruleset, regions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geodrop.policy.model import Policy

COUNTRIES = {
    "1.0.0.0/8": country("UA"),
    "2600::/32": country("UA"),
    "2.0.0.0/8": country("US"),
    "9.0.0.0/8": city("CU"),
}
CITIES = {
    **COUNTRIES,
    "1.30.0.0/16": city("UA", "30"),
    "1.40.0.0/16": city("UA", "40"),
    "1.43.0.0/16": city("UA", "43"),
    "2600:0:43::/48": city("UA", "43"),
}
RUSSIAN = {"1.43.0.0/16": city("RU", "CR"), "1.40.0.0/16": city("RU", "SEV"), "2600::/32": country("RU")}


def parsed(deny: str, groups: str = "{}") -> Policy:
    """Return a policy that denies some lines, in line 8 from column 12 on."""
    text = f"version: 1\ngroups: {groups}\nservices:\n  api:\n    match: {{ports: {{tcp: [443]}}}}\n"
    text += f"    default: allow\n    unknown: allow\n    deny: [{deny}]\n"
    return load_policy(text.encode(), "policy.yaml", lambda name: name.encode())[0]


def opened(folder: Path, *files: dict[str, Any]) -> list[Database]:
    """Write databases and read them."""
    paths = [write_database(folder / f"{number}.mmdb", records) for number, records in enumerate(files)]
    return [Database.open(path.read_bytes(), path.name) for path in paths]


def refused(policy: Policy, databases: Sequence[Database]) -> list[str]:
    """Return the errors of a compile."""
    with pytest.raises(PolicyError) as failure:
        compile_ruleset(policy, databases)
    return str(failure.value).splitlines()


def verdicts(policy: Policy, databases: Sequence[Database], *addresses: str) -> list[tuple[str, str]]:
    """Return verdict and deciding line for some addresses, from the bytes of the ruleset."""
    ruleset = Ruleset.unpack(compile_ruleset(policy, databases), "test")
    found = [next(explain(ruleset, ip_address(address), 0)) for address in addresses]
    return [(one.verdict, one.line) for one in found]


def test_a_territory_is_judged_by_whatever_code_a_database_uses(tmp_path: Path) -> None:
    """The codes of ISO, and those of a database that counts Crimea to RU; the line is named as it was written."""
    for codes in (CITIES, RUSSIAN):
        found = verdicts(parsed("territory:crimea"), opened(tmp_path, codes), "1.43.0.1", "1.40.0.1", "1.30.0.1")
        assert found[:2] == [("drop", "territory:crimea")] * 2
        assert found[2][0] == "accept"


def test_databases_of_countries_do_not_tell_a_territory_apart(tmp_path: Path) -> None:
    """Nothing would be dropped there, and nobody would notice: an error with the line and the figure."""
    (error, *_) = refused(parsed("CU, territory:crimea"), opened(tmp_path, COUNTRIES))
    assert error == (
        "policy.yaml:8:16: error: territory:crimea: no loaded database tells it apart: none of 16,777,216 IPv4 "
        "addresses and 65,536 IPv6 /48s of UA has a subdivision; add a database of cities"
    )


def test_a_territory_without_one_prefix(tmp_path: Path) -> None:
    """Sevastopol is missing, though the rest of Crimea is there: that was the mistake of a real block list."""
    without = {network: record for network, record in CITIES.items() if network != "1.40.0.0/16"}
    (error, *_) = refused(parsed("territory:crimea"), opened(tmp_path, without))
    assert error == (
        "policy.yaml:8:12: error: territory:crimea: of 16,777,216 IPv4 addresses and 65,536 IPv6 /48s of UA in the "
        "loaded databases, none is UA-40 or RU-SEV; take a complete database of cities"
    )


def test_a_database_of_countries_first_hides_that_of_cities(tmp_path: Path) -> None:
    """What the first one knows stays undivided, so the order is an error even if some of the territory is left."""
    some = {network: record for network, record in COUNTRIES.items() if network != "1.0.0.0/8"}
    partly = {**some, "1.30.0.0/16": country("UA")}
    policy = parsed("territory:crimea")
    (error, *_) = refused(policy, opened(tmp_path, partly, CITIES))
    assert error.endswith(
        "territory:crimea: 0.mmdb has no subdivision of UA, and is asked before 1.mmdb, which has; put 1.mmdb first"
    )
    assert verdicts(policy, opened(tmp_path, CITIES, partly), "1.43.0.1") == [("drop", "territory:crimea")]


def test_dependent_territories_are_countries_or_subdivisions(tmp_path: Path) -> None:
    """Databases have them in one way or the other; one that has neither is an error."""
    for record in (country("PR"), city("US", "PR")):
        databases = opened(tmp_path, {**COUNTRIES, "2.1.0.0/16": record})
        found = verdicts(parsed("territory:puerto-rico"), databases, "2.1.0.1", "2.2.0.1")
        assert [verdict for verdict, _ in found] == ["drop", "accept"]
    (error, *_) = refused(parsed("territory:puerto-rico"), opened(tmp_path, COUNTRIES))
    assert "territory:puerto-rico: no loaded database has an address of it (PR or US-PR); take a complete" in error


def test_a_group_of_the_atlas_answers_for_its_territories(tmp_path: Path) -> None:
    """A list of sanctions that silently leaves Crimea out is worse than none; also where it is inside a group."""
    (error, *_) = refused(parsed("group:no", "{no: [atlas:ofac-comprehensive]}"), opened(tmp_path, COUNTRIES))
    assert error.startswith(
        "policy.yaml:2:15: error: atlas:ofac-comprehensive (territory:crimea): no loaded database tells it apart"
    )


def test_countries_without_an_address(tmp_path: Path) -> None:
    """One warning for an entry of the atlas, and one for a country; a territory that is there gets none."""
    policy = parsed("atlas:five-eyes, JP, territory:crimea")
    found = sorted(absent(policy, regions(opened(tmp_path, CITIES), {})))
    lost = "no loaded database has an address of"
    assert [(one.place.column, one.message.partition(";")[0]) for one in found] == [
        (12, f"atlas:five-eyes: AU, CA, GB, NZ: {lost} these countries, so their clients count as unknown"),
        (29, f"JP: {lost} this country, so its clients count as unknown"),
    ]
