# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from geodrop.compile.roles import roles
from geodrop.geo.database import Database
from geodrop.ruleset.model import Role
from tests.support.databases import city, country, write_database

if TYPE_CHECKING:
    from pathlib import Path


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


AS = {"as_domain": "example.com", "as_name": "Example", "asn": "AS64496"}
LITE = {"continent": "Oceania", "continent_code": "OC", "country": "Australia", "country_code": "AU"}
PLUS = {**AS, **LITE, "region": "New South Wales", "region_code": "NSW", "is_vpn": True, "is_hosting": False}
VENDORS: dict[str, tuple[str, dict[str, Any]]] = {
    "GeoLite2-Country": ("country", country("AU", continent="OC")),
    "GeoIP2-City": ("country subdivision", city("AU", "NSW")),
    "GeoIP2-Enterprise": ("country asn", {**country("AU"), "traits": {"autonomous_system_number": 64496}}),
    "GeoLite2-ASN": ("asn", {"autonomous_system_number": 64496, "autonomous_system_organization": "X"}),
    "GeoIP2-ISP": ("asn", {"autonomous_system_number": 64496, "isp": "X", "organization": "X"}),
    "GeoIP2-Anonymous-IP": ("traits", {"is_anonymous": True, "is_hosting_provider": True}),
    "GeoIP-Anonymous-Plus": ("traits", {"anonymizer_confidence": 30, "is_anonymous": True, "is_anonymous_vpn": True}),
    "GeoIP-Residential-Proxy": ("traits", {"anonymizer_confidence": 82, "provider_name": "X"}),
    "DBIP-Country-Lite": ("country", country("AU", continent="OC")),
    "DBIP-ASN-Lite (compat=GeoLite2-ASN)": ("asn", {"autonomous_system_number": 64496}),
    "ipinfo bundle_location_lite_sample.mmdb": ("country asn", {**AS, **LITE}),
    "ipinfo bundle_location_plus_sample.mmdb": ("country subdivision asn traits", PLUS),
    "ipinfo standard_asn_new_sample.mmdb": ("asn", {"asn": "AS64496", "country": "US", "domain": "x", "name": "X"}),
    "ipinfo standard_privacy_new_sample.mmdb": ("traits", {"hosting": False, "proxy": False, "vpn": True}),
    "iptoasn-country": ("country", {"country_code": "AU"}),
    "asn": ("asn", {"autonomous_system_number": 64496, "autonomous_system_organization": "X"}),
}
"""Records in the schemas of vendors, by the type of their databases; the last two are ip-location-db's."""


@pytest.mark.parametrize("database_type", VENDORS)
def test_the_databases_of_vendors(tmp_path: Path, database_type: str) -> None:
    """Each has the roles that its vendor sells it for; its type decides nothing."""
    names, record = VENDORS[database_type]
    assert [role.name for role in roles(opened(tmp_path, {"1.0.0.0/8": record}))] == names.split()
