# SPDX-License-Identifier: Apache-2.0
"""The example policies in deploy/ mean what they say, tried with the real command and a City-shaped database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geodrop.errors import PolicyError
from tests.support.cli import Geodrop
from tests.support.databases import city, write_database

POLICIES = Path(__file__).parents[1] / "deploy" / "policies"

DENIED = {"CN", "RU", "IR", "KP", "CU", "SY", "BY", "HK", "MO", "VE"}
SUBDIVISIONS = {"UA-43", "UA-40", "UA-14", "UA-09"}

PLACES = {
    "5.58.0.0/16": ("UA", None),
    "5.59.1.0/24": ("UA", "43"),
    "5.59.2.0/24": ("UA", "40"),
    "5.59.3.0/24": ("UA", "14"),
    "5.59.4.0/24": ("UA", "09"),
    "5.59.5.0/24": ("UA", "30"),
    "2a02:2378::/32": ("UA", "14"),
    "8.8.8.0/24": ("US", "CA"),
    "24.48.0.0/16": ("PR", None),
    "78.157.32.0/24": ("IR", None),
    **{f"45.{number}.0.0/16": (code, None) for number, code in enumerate(sorted(DENIED))},
}
"""Networks of a made-up world, each with country and subdivision."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a database of the City shape that holds PLACES."""
    path = tmp_path_factory.mktemp("city") / "city.mmdb"
    records = {network: city(country, subdivision) for network, (country, subdivision) in PLACES.items()}
    return write_database(path, records, database_type="GeoIP2-City")


def verdicts(policy: str, database: Path, folder: Path) -> dict[str, str]:
    """Return the verdict of a compiled policy for the first address of each network of PLACES."""
    geodrop, ruleset = Geodrop(folder), str(folder / "api.ruleset")
    geodrop.good("compile", "--policy", str(POLICIES / policy), "--database", str(database), "-o", ruleset)
    addresses = "".join(f"{network.split('/')[0]}\n" for network in PLACES)
    answers = geodrop.good("explain", "--ruleset", ruleset, "--json", "-", stdin=addresses).json_lines
    return dict(zip(PLACES, (answer["verdict"] for answer in answers), strict=True))


@pytest.mark.parametrize(
    ("policy", "denied"),
    [
        ("ai-api-allow-list.yaml", DENIED),
        ("ai-api-subdivisions.yaml", DENIED | SUBDIVISIONS),
        ("deny-list.yaml", DENIED),
    ],
)
def test_an_example_policy_drops_what_it_names(policy: str, denied: set[str], database: Path, tmp_path: Path) -> None:
    """Denied countries and subdivisions are dropped; the rest of a country with denied subdivisions is accepted."""
    expected = {
        network: "drop" if {country, f"{country}-{subdivision}"} & denied else "accept"
        for network, (country, subdivision) in PLACES.items()
    }
    assert verdicts(policy, database, tmp_path) == expected


def test_subdivisions_need_a_database_that_has_them(tmp_path: Path) -> None:
    """A policy with subdivisions is refused with a country database: it would deny less than it says."""
    database = write_database(tmp_path / "country.mmdb", {"5.58.0.0/15": city("UA")})
    policy, output = str(POLICIES / "ai-api-subdivisions.yaml"), tmp_path / "out"
    done = Geodrop(tmp_path).run("compile", "--policy", policy, "--database", str(database), "-o", str(output))
    assert done.code == PolicyError.exit_code
    assert all(f"territory:{name}: " in done.err for name in ("crimea", "donetsk", "luhansk"))
    assert not output.exists()


def test_both_allow_lists_support_the_same_countries() -> None:
    """The two files differ only in the deny line and in their introductions, so that they cannot drift apart."""
    one, other = ((POLICIES / name).read_text() for name in ("ai-api-allow-list.yaml", "ai-api-subdivisions.yaml"))
    body, other_body = one[one.index("version:") :], other[other.index("version:") :]
    assert re.sub(r"    deny: \[terr.*\n", "", other_body) == body


def test_the_allow_list_supports_about_160_countries() -> None:
    """The list has the size of the published lists it is modelled on, and includes no denied country."""
    text = (POLICIES / "ai-api-allow-list.yaml").read_text()
    groups = re.findall(r"^  (\w+): \[\n(.*?)\n  \]", text, re.MULTILINE | re.DOTALL)
    members = {name: re.findall(r"\b[A-Z]{2}\b", body) for name, body in groups}
    countries = [code for name, codes in members.items() if name != "territories" for code in codes]
    assert 155 <= len(countries) <= 175
    named = [code for codes in members.values() for code in codes]
    assert len(named) == len(set(named))
    assert not DENIED & set(named)


@pytest.mark.parametrize("policy", sorted(path.name for path in POLICIES.glob("*.yaml")))
def test_an_example_passes_check_without_a_warning(policy: str, tmp_path: Path) -> None:
    """The examples compile without problems."""
    assert Geodrop(tmp_path).good("check", str(POLICIES / policy)).err == ""
