from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.compile.roles import roles
from geodrop.geo.database import Database
from geodrop.ruleset.model import Role
from tests.support.databases import city, country, write_database

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def opened(folder: Path, records: dict[str, Any]) -> Database:
    """Write a database and read it."""
    path = write_database(folder / "x.mmdb", records)
    return Database.open(path.read_bytes(), path.name)


def test_roles_are_told_by_what_a_database_holds(tmp_path: Path) -> None:
    """Each role has the number of addresses of which the database says this; /48s are counted once, huge ones not."""
    database = opened(
        tmp_path,
        {
            "1.0.0.0/8": {**country("CN"), "asn": "AS64496"},
            "2.0.0.0/16": city("UA", "43"),
            "9.0.0.0/24": {"country_code": "ZZ"},
            "255.255.255.0/24": {**country("US"), "traits": {"is_anycast": True}},
            "2600::/32": {**country("US"), "asn": "AS64496"},
            "2600:1::/49": country("US"),
            "2600:1:0:8000::/49": country("CN"),
            "2800::/5": country("CL"),
            "4000::/32": country("CN"),
        },
    )
    assert roles(database) == (
        Role("country", (1 << 24) + (1 << 16) + 256, (1 << 16) + 1),
        Role("subdivision", 1 << 16, 0),
        Role("asn", 1 << 24, 1 << 16),
        Role("traits", 256, 0),
    )


def test_a_database_of_networks_is_of_no_country(tmp_path: Path) -> None:
    """The country of an owner is no country of clients."""
    record = {"asn": "AS64496", "country": "US", "domain": "example.com", "name": "Example", "type": "hosting"}
    assert roles(opened(tmp_path, {"1.0.0.0/8": record})) == (Role("asn", 1 << 24, 0),)
