# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.geo.attributes import NO_NETWORK, Attributes, Layer, gather
from geodrop.geo.database import Database
from geodrop.geo.world import uncorrected
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from pathlib import Path

PLACES = {"1.0.0.0/8": country("CN"), "2600::/16": country("US")}
NETWORKS = {
    "1.0.0.0/16": {"autonomous_system_number": 64496},
    "1.1.0.0/16": {"autonomous_system_number": 64497},
    "2600::/32": {"autonomous_system_number": 64496},
    "2002::/16": {"autonomous_system_number": 64496},
    "2001::/32": {"autonomous_system_number": 64496},
    "4000::/16": {"autonomous_system_number": 64496},
    "fd00::/16": {"autonomous_system_number": 64496},
}
OTHERS = {"1.0.0.0/15": {"asn": "AS64500"}, "9.0.0.0/8": {"asn": "AS64501"}}
HIDDEN = {
    "1.0.0.0/24": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 30},
    "1.0.1.0/24": {"is_anonymous": True, "is_hosting_provider": True},
}
MORE = {"1.0.0.0/16": {"vpn": True, "hosting": True, "proxy": False, "relay": False}}


def gathered(folder: Path, *files: dict[str, Any]) -> Attributes:
    """Return what databases with these records say together."""
    return gather([opened(folder, number, records) for number, records in enumerate(files)])


def opened(folder: Path, number: int, records: dict[str, Any]) -> Database:
    """Write a database and read it."""
    path = write_database(folder / f"{number}.mmdb", records)
    return Database.open(path.read_bytes(), path.name)


@pytest.mark.parametrize(
    ("address", "asn", "database"),
    [
        ("1.0.0.1", 64_496, 1),
        ("1.1.0.1", 64_497, 1),
        ("1.2.0.1", 0, -1),
        ("9.9.9.9", 64_501, 2),
        ("2600::1", 64_496, 1),
        # where databases are not asked
        ("2002:101:101::1", 0, -1),
        ("2001::1", 0, -1),
        ("4000::1", 0, -1),
        ("fd00::1", 0, -1),
    ],
)
def test_the_first_database_with_a_number_gives_it(tmp_path: Path, address: str, asn: int, database: int) -> None:
    """Each address has its number from the first database that has one, and knows which that was."""
    found = gathered(tmp_path, PLACES, NETWORKS, OTHERS).networks.at(ip_address(address))
    assert (found.asn, found.database) == (asn, database)


def test_each_trait_comes_from_the_first_database_that_has_it(tmp_path: Path) -> None:
    """A second database adds traits, and does not change the confidence of those that the first one has."""
    found = gathered(tmp_path, PLACES, HIDDEN, MORE)

    def said(address: str) -> dict[str, tuple[int | None, int]]:
        return {one.name: (one.confidence, database) for one, database in found.traits.at(ip_address(address))}

    assert said("1.0.0.1") == {"vpn": (30, 1), "hosting": (None, 2)}
    assert said("1.0.1.1") == {"vpn": (None, 2), "hosting": (None, 1)}
    assert said("1.0.2.1") == {"vpn": (None, 2), "hosting": (None, 2)}
    assert said("2.0.0.1") == {}
    assert [set(own) for own in found.carried] == [set(), {"vpn", "hosting"}, {"vpn", "hosting"}]
    assert [set(own) for own in found.rated] == [set(), {"vpn"}, set()]
    assert found.databases == ("0.mmdb", "1.mmdb", "2.mmdb")


def test_without_such_databases_nothing_is_said(tmp_path: Path) -> None:
    """A database of places alone says nothing of networks and anonymisers."""
    found = gathered(tmp_path, PLACES)
    assert (found.networks.values, found.traits.values) == ((NO_NETWORK,), ((),))
    assert len(found.networks.ipv4) == len(found.networks.ipv6) == 1


def test_the_map_of_regions_has_them_and_keeps_them_alone(tmp_path: Path) -> None:
    """They stay when the databases are forgotten, and a database of networks adds no country."""
    databases = [opened(tmp_path, 0, PLACES), opened(tmp_path, 1, {"9.0.0.0/8": {"asn": "AS64501", "country": "US"}})]
    region_map = uncorrected(databases).alone()
    assert region_map.attributes.networks.at(ip_address("9.9.9.9")).asn == 64_501
    assert {region.country for region in region_map.regions} == {"", "CN", "US"}
    assert str(region_map.locate(ip_address("9.9.9.9")).region) == "unknown"


def test_a_layer_can_say_something_else() -> None:
    """Values that become alike are joined, and `nothing` stays first."""
    layer = Layer(("", "a", "b"), Layer.empty("").ipv4, Layer.empty("").ipv6)
    assert layer.mapped(len, 0).values == (0, 1)
