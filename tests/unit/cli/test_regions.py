# SPDX-License-Identifier: Apache-2.0
"""`geodrop regions` as an operator runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.cli import Geodrop
from tests.support.databases import city, write_database

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = {"1.0.0.0/8": city("UA"), "1.40.0.0/16": city("UA", "40"), "1.43.0.0/16": city("UA", "43")}


def test_one_territory_with_the_databases_of_agent_yaml(tmp_path: Path) -> None:
    """It has a line for each code with its size, and says what the databases leave open and whose codes they are."""
    write_database(tmp_path / "cities.mmdb", {**RECORDS, "2600::/32": city("UA", "43")})
    (tmp_path / "agent.yaml").write_text("source: {policy: policy.yaml, databases: [cities.mmdb]}\n")
    lines = Geodrop(tmp_path).good("regions", "crimea").out.splitlines()
    assert lines[0] == "territory:crimea: Crimea, with Sevastopol, counted to UA"
    assert [line.split() for line in lines[2:5]] == [
        ["UA-43", "or", "RU-CR", "65,536", "65,536"],
        ["UA-40", "or", "RU-SEV", "65,536", "0"],
        ["together", "131,072", "65,536"],
    ]
    assert "do not say of 16,646,144 IPv4 addresses and 0 /48s of UA" in lines[5]
    assert lines[6].startswith("as of 2026-09-18: ISO 3166-1")


def test_json(tmp_path: Path) -> None:
    """One object with the entry that was asked for, or with all of them."""
    database = write_database(tmp_path / "x.mmdb", {**RECORDS, "2600::/32": city("UA", "43")})
    geodrop = Geodrop(tmp_path)
    found = geodrop.good("regions", "sevastopol", "--json", "--database", str(database)).json
    assert (found["schema"], len(found["databases"])) == (1, 1)
    assert [(one["name"], one["ipv4"]) for one in found["regions"]] == [("territory:sevastopol", 65_536)]
    assert len(geodrop.good("regions", "--json").json["regions"]) > 60


def test_without_a_database(tmp_path: Path) -> None:
    """Names and codes are known without one; the sizes are not, and the last line says what to do."""
    out = Geodrop(tmp_path).good("regions", "atlas:five-eyes").out
    assert "AU" in out
    assert out.endswith("the sizes are those of databases: add --database FILE\n")


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    """A mistake of the command line (2), with the nearest name."""
    done = Geodrop(tmp_path).run("regions", "krimea")
    assert (done.code, done.out) == (2, "")
    assert "'krimea' is not in the atlas; write territory:crimea" in done.err
