# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geodrop.errors import DataError
from geodrop.geo.database import Database
from geodrop.geo.partition import BITS
from geodrop.geo.world import (
    EMBEDDINGS,
    MAPPED,
    NAT64,
    SIXTOFOUR,
    SPECIAL,
    TEREDO,
    Location,
    RegionMap,
    unite,
)
from geodrop.policy.countries import UNKNOWN, Region, country_region
from geodrop.policy.special import GLOBAL_UNICAST, is_special
from geodrop.ruleset.model import Embedding
from tests.support.databases import city, country, write_database
from tests.support.worlds import regions
from tests.unit.geo.addresses import address_text, decode, embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    Address = IPv4Address | IPv6Address
    Network = IPv4Network | IPv6Network

US, UA, CN = country_region("US"), country_region("UA"), country_region("CN")
CRIMEA = Region("UA", "UA-43", "EU")
ASIA = Region(continent="AS")

CITIES = {
    "5.0.0.0/8": city("UA"),
    "5.43.0.0/16": city("UA", "43"),
    "2a00::/16": city("UA"),
    "2a00:43::/32": city("UA", "43"),
}
COUNTRIES = {
    "0.0.0.0/1": country("US"),
    "4.0.0.0/8": country("", continent="AS"),
    "5.0.0.0/8": country("CN"),
    "200.0.0.0/8": country("ZZ", continent="SA"),
    "2000::/3": country("US"),
    "2b00::/16": country("", continent="AS"),
    "4000::/3": country("US"),
}


def opened(folder: Path, *databases: Mapping[str, Any], ip_version: int = 6, aliases: bool = False) -> list[Database]:
    """Write and read databases, named a.mmdb, b.mmdb and so on."""
    result = []
    for letter, records in zip("abcdef", databases, strict=False):
        path = write_database(folder / f"{letter}.mmdb", records, ip_version=ip_version, aliases=aliases)
        result.append(Database.open(path.read_bytes(), path.name))
    return result


def at(found: RegionMap, text: str) -> Region | int:
    """Return the region at an address, or the negative mark there."""
    address = ip_address(text)
    value = (found.ipv4 if address.version == 4 else found.ipv6).value_at(int(address))
    return found.regions[value] if value >= 0 else value


def test_the_first_database_with_a_country_answers(tmp_path: Path) -> None:
    """Country, continent and subdivision come from one database: the first in order that has a country."""
    cities, countries = opened(tmp_path, CITIES, COUNTRIES)
    first, second = regions([cities, countries], {}), regions([countries, cities], {})
    assert (at(first, "5.43.0.1"), at(second, "5.43.0.1")) == (CRIMEA, CN)
    assert (at(first, "5.1.0.1"), at(second, "5.1.0.1")) == (UA, CN)
    assert at(first, "1.1.1.1") == at(second, "1.1.1.1") == US
    assert (at(first, "2a00:43::1"), at(second, "2a00:43::1")) == (CRIMEA, US)


def test_countries_that_an_earlier_database_leaves_undivided(tmp_path: Path) -> None:
    """What a later one knows of their subdivisions does not count, so both databases are named."""
    cities, countries = opened(tmp_path, CITIES, {**COUNTRIES, "9.0.0.0/8": country("UA")})
    assert regions([countries, cities], {}).undivided["UA"] == ("b.mmdb", "a.mmdb")
    assert regions([cities, countries], {}).undivided == {}


def test_a_country_goes_before_a_continent(tmp_path: Path) -> None:
    """A country of a later database replaces a continent of an earlier one; another continent does not."""
    one, other, third = opened(
        tmp_path,
        {**CITIES, "6.0.0.0/8": country("", continent="AS"), "7.0.0.0/8": country("", continent="AS")},
        {**CITIES, "6.0.0.0/8": country("US"), "7.0.0.0/8": country("", continent="SA")},
        {**CITIES, "7.1.0.0/16": country("ZZ"), "8.0.0.0/8": country("", continent="SA")},
    )
    found = regions([one, other, third], {})
    assert (at(found, "6.1.1.1"), at(found, "7.1.1.1"), at(found, "8.1.1.1")) == (US, ASIA, Region(continent="SA"))


def test_families_may_come_from_different_files(tmp_path: Path) -> None:
    """Databases of IPv4 and of IPv6 can be combined; IPv4 alone is refused; a family without countries is a warning."""
    (ipv4,) = opened(tmp_path, {"5.0.0.0/8": city("UA")}, ip_version=4)
    (ipv6,) = opened(tmp_path, {"2a00::/16": city("UA")})
    found = regions([ipv4, ipv6], {})
    assert (at(found, "5.1.1.1"), at(found, "2a00::1"), found.warnings) == (UA, UA, ())
    with pytest.raises(DataError, match=r"^a\.mmdb, a\.mmdb: no database covers IPv6; add one"):
        regions([ipv4, ipv4], {})
    assert regions([ipv6], {}).warnings == (
        "no database knows the country of any IPv4 address, so every one is unknown",
    )
    (no_ipv6,) = opened(tmp_path, {"5.0.0.0/8": city("UA")})
    assert regions([no_ipv6], {}).warnings == (
        "no database knows the country of any IPv6 address, so every one is unknown",
    )


def test_no_database() -> None:
    """Compiling without a database is refused."""
    with pytest.raises(DataError, match="give at least one GeoIP database"):
        unite([])


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("10.1.2.3", SPECIAL),
        ("127.0.0.1", SPECIAL),
        ("192.0.0.8", SPECIAL),
        ("192.0.0.9", UNKNOWN),
        ("224.0.0.1", SPECIAL),
        ("255.255.255.255", SPECIAL),
        ("::", SPECIAL),
        ("::1", SPECIAL),
        ("::5.43.0.1", UNKNOWN),
        ("::ffff:5.43.0.1", MAPPED),
        ("64:ff9b::1", NAT64),
        ("64:ff9b:1::1", SPECIAL),
        ("1fff:ffff::", UNKNOWN),
        ("2000::", US),
        ("2001::1", TEREDO),
        ("2001:1::1", US),
        ("2001:1::4", SPECIAL),
        ("2001:db8::1", SPECIAL),
        ("2002:52b::1", SIXTOFOUR),
        ("2003::1", US),
        ("3fff:1000::", US),
        ("4000::1", UNKNOWN),
        ("fd00::1", SPECIAL),
        ("fec0::1", UNKNOWN),
        ("ff02::1", SPECIAL),
    ],
)
@pytest.mark.parametrize("aliases", [False, True])
def test_special_embedded_and_unknown_whatever_a_database_holds(
    tmp_path: Path,
    address: str,
    value: Region | int,
    aliases: bool,  # noqa: FBT001 - pytest passes it
) -> None:
    """Special and embedding addresses are marked, and in IPv6 the database decides only inside 2000::/3."""
    records = {**COUNTRIES, "0.0.0.0/1": country("ZZ"), "192.0.0.0/24": country("ZZ"), "fec0::/10": country("US")}
    assert at(regions(opened(tmp_path, records, aliases=aliases), {}), address) == value


def test_embeddings_are_named_as_the_ruleset_names_them() -> None:
    """Each mark stands for one of the ruleset's embeddings, and SPECIAL for none of them."""
    assert set(EMBEDDINGS.values()) == {str(item) for item in Embedding}
    assert SPECIAL not in EMBEDDINGS
    assert all(mark < 0 for mark in EMBEDDINGS)


def test_corrections(tmp_path: Path) -> None:
    """The longest correction counts, clears the subdivision, and does not change special or embedding addresses."""
    corrections: dict[Network, str] = {
        ip_network("5.43.0.0/16"): "US",
        ip_network("5.43.7.0/24"): "CN",
        ip_network("9.0.0.0/8"): "UA",
        ip_network("0.0.0.0/4"): "CN",
        ip_network("2a00:43::/40"): "UA",
        ip_network("2000::/4"): "CN",
        ip_network("4000::/16"): "US",
    }
    found = regions(opened(tmp_path, CITIES), corrections)
    assert at(found, "5.43.1.1") == US
    assert at(found, "5.43.7.1") == CN
    assert at(found, "9.1.1.1") == UA
    assert (at(found, "15.1.1.1"), at(found, "16.1.1.1")) == (CN, UNKNOWN)
    assert at(found, "10.1.1.1") == SPECIAL
    assert (at(found, "2a00:43::1"), at(found, "2a00:43:8000::1")) == (UA, CN)
    assert (at(found, "2002::1"), at(found, "2001::1"), at(found, "2001:db8::1")) == (SIXTOFOUR, TEREDO, SPECIAL)
    assert (at(found, "4000::1"), at(found, "4001::1")) == (US, UNKNOWN)


def test_what_the_databases_say_is_kept_with_a_correction(tmp_path: Path) -> None:
    """Each correction knows what the databases say, whatever other corrections say; special addresses do not count."""
    networks = ("5.43.7.0/24", "4.0.0.0/7", "9.0.0.0/8", "0.0.0.0/4", "2a00:43::/40", "1.0.0.0/24")
    corrections: dict[Network, str] = {ip_network(network): "CN" for network in networks}
    found = regions(opened(tmp_path, CITIES, COUNTRIES), corrections).corrected
    assert list(found.values()) == [
        ("UA",),
        ("UA", "continent:AS"),
        ("US",),
        ("UA", "US", "continent:AS"),
        ("UA",),
        ("US",),
    ]
    assert regions(opened(tmp_path, CITIES), {}).corrected == {}


def test_only_regions_that_occur_are_kept(tmp_path: Path) -> None:
    """Regions are sorted, UNKNOWN first, and only regions that some address has are kept."""
    hidden = {**CITIES, "10.0.0.0/8": country("CN")}
    found = regions(opened(tmp_path, hidden), {ip_network("5.0.0.0/8"): "US", ip_network("2a00::/16"): "US"})
    assert found.regions == (UNKNOWN, US)
    assert {int(value) for value in found.ipv4.values} == {SPECIAL, 0, 1}


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("5.43.1.1", Location(CRIMEA, None, "a.mmdb", CITIES["5.43.0.0/16"])),
        ("5.44.1.1", Location(CN, ip_network("5.44.0.0/16"), "a.mmdb", CITIES["5.0.0.0/8"])),
        ("4.1.1.1", Location(ASIA, None, "b.mmdb", COUNTRIES["4.0.0.0/8"])),
        ("1.1.1.1", Location(US, None, "b.mmdb", COUNTRIES["0.0.0.0/1"])),
        ("10.1.1.1", Location(US, None, "b.mmdb", COUNTRIES["0.0.0.0/1"])),
        ("250.1.1.1", Location(UNKNOWN)),
        ("2a00:43::1", Location(CRIMEA, None, "a.mmdb", CITIES["2a00:43::/32"])),
        ("4000::1", Location(UNKNOWN)),
        ("::5.43.1.1", Location(UNKNOWN)),
    ],
)
def test_locate_says_who_answers(tmp_path: Path, address: str, place: Location) -> None:
    """`locate` gives an address's region, the correction or database that it comes from, and the record."""
    found = regions(opened(tmp_path, CITIES, COUNTRIES), {ip_network("5.44.0.0/16"): "CN"})
    assert found.locate(ip_address(address)) == place


codes = st.sampled_from(["US", "UA", "CN", "ZZ", ""])
records = st.builds(
    lambda code, subdivision, continent: {**city(code, subdivision), "continent": {"code": continent}},
    codes,
    st.sampled_from([None, "43"]),
    st.sampled_from(["AS", "EU", "XX"]),
)


NEAR = {
    4: ["9.255.255.255", "192.0.0.9", "223.255.255.255", "5.43.0.0"],
    6: ["2001::", "2001:1ff:ffff::", "2002::", "2003::", "1fff::", "64:ff9b::1", "3fff::", "2a00:43::", "4000::"],
}


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw networks of both families, where special, embedding and ordinary addresses meet.

    None holds ::/96, which would be all of IPv4 in a database.
    """
    family = draw(st.sampled_from([4, 6]))
    number = int(ip_address(draw(st.sampled_from(NEAR[family])))) + draw(st.integers(-2, 2))
    shift = BITS[family] - draw(st.integers(1, BITS[family]))
    start = number >> shift << shift
    assume(family == 4 or start)
    return ip_network((address_text(family, start), BITS[family] - shift))


def naive(
    address: Address, databases: Sequence[Mapping[Network, Any]], corrections: Mapping[Network, str]
) -> Region | int:
    """Return the region by the rules of the design, for one address."""
    if is_special(address):
        return SPECIAL
    if isinstance(address, IPv6Address) and (name := embedding(address)):
        return next(mark for mark, own in EMBEDDINGS.items() if own == name)
    if corrected := longest(address, corrections):
        return country_region(corrections[corrected])
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return UNKNOWN
    continent = UNKNOWN
    for database in databases:
        network = longest(address, database)
        if network is None:
            continue
        record = database[network]
        code = record.get("country", {}).get("iso_code", "")
        if code in ("US", "UA", "CN"):
            return Region(code, f"{code}-43" if "subdivisions" in record else "", country_region(code).continent)
        if continent == UNKNOWN and record["continent"]["code"] != "XX":
            continent = Region(continent=record["continent"]["code"])
    return continent


def longest(address: Address, given_networks: Iterable[Network]) -> Network | None:
    """Return the longest network that holds an address."""
    holding = [network for network in given_networks if address in network]
    return max(holding, key=lambda network: network.prefixlen, default=None)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.dictionaries(networks(), records, max_size=6), min_size=1, max_size=3),
    st.dictionaries(networks(), st.sampled_from(["US", "CN"]), max_size=4),
)
def test_agrees_with_the_rules_applied_one_by_one(
    databases: list[dict[Network, Any]], corrections: dict[Network, str]
) -> None:
    """At every boundary of the map, the networks and the corrections, the map agrees with the rules."""
    # Every database needs a country somewhere; this network overlaps no other.
    databases = [{ip_network("66.0.0.0/8"): {**city("US"), "continent": {"code": "XX"}}, **own} for own in databases]
    with TemporaryDirectory() as folder:
        texts = [{str(network): record for network, record in own.items()} for own in databases]
        found = regions(opened(Path(folder), *texts), corrections)
    all_networks = [network for own in (*databases, corrections) for network in own]
    for family, partition in ((4, found.ipv4), (6, found.ipv6)):
        own_networks = [network for network in all_networks if network.version == family]
        asked = {*decode(family, partition.starts), *(int(network.network_address) for network in own_networks)}
        asked |= {int(network.broadcast_address) + 1 for network in own_networks}
        asked |= {number - 1 for number in asked if number}
        for number in sorted(number for number in asked if number < 1 << BITS[family]):
            text = address_text(family, number)
            assert at(found, text) == naive(ip_address(text), databases, corrections), text
