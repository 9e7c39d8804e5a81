# SPDX-License-Identifier: Apache-2.0
"""Records from IPinfo's samples, MaxMind's test files and others, with the database types of these files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from geodrop.errors import DataError
from geodrop.geo.database import Database
from geodrop.geo.world import unite
from geodrop.policy.countries import Region
from tests.support.databases import city, country, write_database

if TYPE_CHECKING:
    from pathlib import Path

AS = {"as_domain": "example.com", "as_name": "Example", "asn": "AS64496"}
CORE = {"continent": "Oceania", "continent_code": "OC", "country": "Australia", "country_code": "AU"}
SYDNEY = {"city": "Sydney", "region": "New South Wales", "region_code": "NSW", "timezone": "Australia/Sydney"}

OWNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ipinfo standard_asn_new_sample.mmdb": (
        "networks by number (ASN); its country is where the owner of a network is registered",
        {"asn": "AS64496", "country": "US", "domain": "example.com", "name": "Example", "type": "hosting"},
    ),
    "iplocate-ip-to-asn": (
        "networks by number (ASN); its country is where the owner of a network is registered",
        {"asn": "64496", "country_code": "US", "name": "EXAMPLE", "org": "Example", "domain": "example.com"},
    ),
    "ipinfo standard_company_sample.mmdb": (
        "companies; its country is where a company is registered",
        {**AS, "as_type": "hosting", "country": "AU", "domain": "example.com", "name": "Example", "type": "hosting"},
    ),
    "ipinfo generic_whois_rir_sample.mmdb": (
        "WHOIS records; its country is where the owner of a network is registered",
        {**AS, "admin": "A1-AP", "country": "AU", "domain": "", "id": "X", "maintainer": "MAINT-X", "name": "X"},
    ),
    "ipinfo generic_whois_rwhois_sample.mmdb": (
        "WHOIS records; its country is where the owner of a network is registered",
        {
            "abuse": "x@example.com",
            "city": "Phoenix",
            "country": "US",
            "descr": "X",
            "email": "x@example.com",
            "host": "whois.example.com:4321",
            "id": "N",
            "imported": "2026",
            "name": "X",
            "postal": "85034",
        },
    ),
    "ipinfo standard_abuse_mmdb_v4_sample.mmdb": (
        "abuse contacts; its country is where an abuse desk is",
        {"address": "X", "country": "AU", "email": "x@example.com", "name": "X", "network": "1.0.0.0/8", "phone": "+0"},
    ),
    "ipinfo standard_carrier_new_sample.mmdb": (
        "mobile carriers; its country is the home of a carrier",
        {"country": "JP", "mcc": "440", "mnc": "20", "name": "X"},
    ),
    "ipinfo generic_poi_all_extended_sample.mmdb": (
        "Wi-Fi networks and venues; its country is where a venue is",
        {
            "bssid": "b4:fb",
            "category": "hotel",
            "city": "Rayong",
            "country_code": "TH",
            "region": "Rayong",
            "ssid": "X",
        },
    ),
}
"""Databases whose country is that of an owner, desk or carrier, by type: part of the message, and a record."""

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "GeoLite2-ASN": ("networks by number (ASN)", {"autonomous_system_number": 64496}),
    "GeoIP2-ISP": (
        "networks by number (ASN)",
        {"autonomous_system_number": 64496, "isp": "X", "organization": "X", "mobile_country_code": "310"},
    ),
    "ipinfo generic_asn_free_sample.mmdb": ("networks by number (ASN)", {"asn": "AS64496", "domain": "x", "name": "X"}),
    "GeoIP2-Anonymous-IP": ("anonymisers", {"is_anonymous": True, "is_anonymous_vpn": True}),
    "GeoIP-Anonymous-Plus": (
        "anonymisers",
        {"anonymizer_confidence": 30, "is_anonymous": True, "network_last_seen": "2026-01-01", "provider_name": "X"},
    ),
    "GeoIP-Residential-Proxy": ("anonymisers", {"anonymizer_confidence": 82, "provider_name": "X"}),
    "ipinfo standard_privacy_new_sample.mmdb": ("anonymisers", {"hosting": False, "proxy": False, "vpn": True}),
    "ipinfo generic_privacy_proxy_residential_30d_sample.mmdb": (
        "anonymisers",
        {"last_seen": "2026-07-12", "percent_days_seen": 3, "service": "X"},
    ),
    "ipinfo standard_carrier_mmdb_sample.mmdb": (
        "mobile carriers",
        {"carrier": "X", "cc": "AU", "mcc": "5", "mnc": "1"},
    ),
    "ipinfo generic_poi_all_sample.mmdb": (
        "Wi-Fi networks and venues",
        {"category": "hotel", "name": "X", "ssid": "X"},
    ),
    "ipinfo standard_ip_hosted_domains_sample.mmdb": ("domains", {"domains": "example.com", "total": "1"}),
    "GeoIP2-Domain": ("domains", {"domain": "example.com"}),
    "GeoIP2-Connection-Type": ("kinds of connections", {"connection_type": "Cable/DSL"}),
    "GeoIP2-IP-Risk": ("scores and counts", {"ip_risk": 75.0, "is_anonymous": True}),
    "GeoIP2-Static-IP-Score": ("scores and counts", {"score": 0.01}),
    "GeoIP2-User-Count": ("scores and counts", {"ipv4_24": 1, "ipv4_32": 1}),
    "GeoIP2-DensityIncome": ("scores and counts", {"average_income": 32323, "population_density": 1232}),
    "ipinfo generic_stats_device_count_v2_sample.mmdb": ("scores and counts", {"asn": "AS64496", "devices_daily": 10}),
}
"""Databases without any country."""

GOOD: dict[str, tuple[Region, dict[str, Any]]] = {
    "GeoLite2-Country": (Region("AU", "", "OC"), country("AU", continent="OC")),
    "GeoIP2-City-Shield": (Region("AU", "AU-VIC", "OC"), {**city("AU", "VIC"), "traits": {"is_anycast": True}}),
    "GeoIP2-Enterprise": (Region("AU", "AU-VIC", "OC"), {**city("AU", "VIC"), "traits": {"isp": "X", "domain": "x"}}),
    "DBIP-Location-ISP (compat=Enterprise)": (Region("AU", "", "OC"), {**country("AU"), "traits": {"isp": "X"}}),
    "ipinfo generic_country_free_sample.mmdb": (
        Region("AU", "", "OC"),
        {"continent": "OC", "continent_name": "Oceania", "country": "AU", "country_name": "Australia"},
    ),
    "ipinfo generic_country_free_country_asn_sample.mmdb": (
        Region("AU", "", "OC"),
        {**AS, "continent": "OC", "continent_name": "Oceania", "country": "AU", "country_name": "Australia"},
    ),
    "ipinfo bundle_location_lite_sample.mmdb": (Region("AU", "", "OC"), {**AS, **CORE}),
    "ipinfo bundle_location_plus_sample.mmdb": (
        Region("AU", "AU-NSW", "OC"),
        {**AS, **CORE, **SYDNEY, "is_anonymous": False, "is_vpn": False, "is_tor": False},
    ),
    "ipinfo standard_location_mmdb_sample.mmdb": (
        Region("AU", "AU-NSW", "OC"),
        {"country": "AU", "lat": "-33.8", "lng": "151.2", "postal_code": "1001", **SYDNEY},
    ),
    "ipinfo extended_location_v2_sample.mmdb": (
        Region("AU", "AU-NSW", "OC"),
        {
            "city": "Sydney",
            "country": "AU",
            "country_name": "Australia",
            "region": "NSW",
            "region_name": "New South Wales",
        },
    ),
    "iptoasn-country": (Region("AU", "", "OC"), {"country_code": "AU"}),
    "country and number": (Region("AU", "", "OC"), {"country_code": "AU", "asn": "AS64496"}),
    "cities with carriers": (
        Region("AU", "", "OC"),
        {"country_code": "AU", "city": "Sydney", "mcc": "505", "mnc": "01"},
    ),
}
"""Databases that tell where addresses are, with the regions they give."""


def opened(folder: Path, database_type: str, record: object) -> Database:
    """Write a database with one record for a network of each family."""
    path = write_database(folder / "x.mmdb", {"5.0.0.0/8": record, "2a00::/16": record}, database_type=database_type)
    return Database.open(path.read_bytes(), "x.mmdb")


@pytest.mark.parametrize("database_type", OWNERS)
def test_a_country_of_an_owner_is_refused(tmp_path: Path, database_type: str) -> None:
    """A database with the country of an owner, a desk or a carrier alone is refused; the message says whose it is."""
    said, record = OWNERS[database_type]
    with pytest.raises(DataError) as failure:
        unite([opened(tmp_path, database_type, record)])
    expected = f"x.mmdb: {database_type!a} is a database of {said}, not where clients are; "
    assert str(failure.value).startswith(expected)
    assert str(failure.value).endswith(" a database of countries or cities")


@pytest.mark.parametrize("database_type", OTHERS)
def test_databases_of_something_else_are_called_by_it(tmp_path: Path, database_type: str) -> None:
    """If a database has no countries, the message says what it describes."""
    said, record = OTHERS[database_type]
    with pytest.raises(DataError) as failure:
        unite([opened(tmp_path, database_type, record)])
    assert str(failure.value).startswith(f"x.mmdb: {database_type!a} is a database of {said} and has no countries; ")
    assert str(failure.value).endswith(" a database of countries or cities")


@pytest.mark.parametrize("database_type", GOOD)
def test_databases_of_countries_are_taken(tmp_path: Path, database_type: str) -> None:
    """Databases with places are accepted, also with network numbers, anonymisers or carriers; subdivisions are read."""
    region, record = GOOD[database_type]
    assert opened(tmp_path, database_type, record).regions == (Region(), region)


@pytest.mark.parametrize(
    ("record", "holds"),
    [
        ({"colour": "red", "size": 1}, "holds 'colour', 'size', no countries"),
        ("text", "holds values of type str, no countries"),
        (country("", continent="AS"), "holds 'continent', no countries"),
    ],
)
def test_what_is_unknown_is_described(tmp_path: Path, record: object, holds: str) -> None:
    """A database of no known kind is refused, and the message lists its fields."""
    with pytest.raises(DataError, match=f"'Mine' {holds}; give a database of countries or cities"):
        opened(tmp_path, "Mine", record)
