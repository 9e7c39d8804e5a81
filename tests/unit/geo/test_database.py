# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import mmap
import os
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geodrop.errors import DataError
from geodrop.geo.database import Database
from geodrop.geo.metadata import read_metadata
from geodrop.geo.section import UNREADABLE
from geodrop.policy.countries import UNKNOWN, Region
from tests.support.databases import BUILD_EPOCH, city, country, write_database
from tests.unit.geo.addresses import address_text, decode

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDS = {
    "2.0.0.0/8": city("FR", "IDF"),
    "5.0.0.0/8": city("UA"),
    "5.43.0.0/16": city("UA", "43"),
    "5.40.0.0/16": city("UA", "40"),
    "5.44.0.0/16": city("UA", "43"),
    "9.0.0.0/8": country("", registered="US"),
    "11.0.0.0/8": country("", continent="AS"),
    "12.0.0.0/8": country("ZZ"),
    "2a00::/16": city("UA"),
    "2a00:43::/32": city("UA", "43"),
    "2a01::/16": city("FR"),
}


ATTRIBUTES = {
    "20.0.0.0/8": {"asn": "AS64496", "is_vpn": True, "is_anonymous": True, "anonymizer_confidence": 30},
    "21.0.0.0/8": {"traits": {"autonomous_system_number": 64497, "is_anycast": True}},
    "22.0.0.0/8": {**city("FR"), "vpn": "true", "hosting": ""},
}


def opened(
    folder: Path,
    records: Mapping[str, Any] = RECORDS,
    *,
    database_type: str = "GeoIP2-City",
    ip_version: int = 6,
) -> Database:
    """Write a database of the records to the folder and read it."""
    path = write_database(folder / "x.mmdb", records, database_type=database_type, ip_version=ip_version)
    return Database.open(path.read_bytes(), "x.mmdb")


@cache
def small_file() -> bytes:
    """Return a City database with aliases, as MaxMind writes them."""
    with TemporaryDirectory() as folder:
        return write_database(Path(folder) / "x.mmdb", RECORDS | ATTRIBUTES, aliases=True).read_bytes()


def test_says_who_it_is(tmp_path: Path) -> None:
    """A database has its name without folders, the file's checksum, and the values of the metadata."""
    path = write_database(tmp_path / "x.mmdb", RECORDS, database_type="GeoLite2-City")
    database = Database.open(path.read_bytes(), "/some/folder/x.mmdb")
    assert (database.name, database.database_type) == ("x.mmdb", "GeoLite2-City")
    assert (database.build_epoch, database.ip_version) == (BUILD_EPOCH, 6)
    assert database.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_regions_are_distinct_sorted_and_joined(tmp_path: Path) -> None:
    """Records of the same region share one number, UNKNOWN is first, and neighbours of one region are one interval."""
    database = opened(tmp_path, {**RECORDS, "5.45.0.0/16": {**city("UA", "43"), "postal": {"code": "1"}}})
    assert database.regions == tuple(sorted(set(database.regions)))
    assert database.regions[0] == UNKNOWN
    assert database.subdivisions == {"UA-43", "UA-40", "FR-IDF"}
    starts = [address_text(4, start) for start in decode(4, database.ipv4.starts)]
    assert starts[1:] == [
        "2.0.0.0",
        "3.0.0.0",
        "5.0.0.0",
        "5.40.0.0",
        "5.41.0.0",
        "5.43.0.0",
        "5.46.0.0",
        "6.0.0.0",
        "9.0.0.0",
        "10.0.0.0",
        "11.0.0.0",
        "12.0.0.0",
    ]


@pytest.mark.parametrize(
    ("address", "region", "record"),
    [
        ("5.43.1.2", Region("UA", "UA-43", "EU"), RECORDS["5.43.0.0/16"]),
        ("5.1.2.3", Region("UA", "", "EU"), RECORDS["5.0.0.0/8"]),
        ("9.1.1.1", Region("US", "", "NA"), RECORDS["9.0.0.0/8"]),
        ("11.1.1.1", Region("", "", "AS"), RECORDS["11.0.0.0/8"]),
        ("12.1.1.1", UNKNOWN, RECORDS["12.0.0.0/8"]),
        ("13.1.1.1", UNKNOWN, None),
        ("2a00:43::1", Region("UA", "UA-43", "EU"), RECORDS["2a00:43::/32"]),
        ("2002:52b::1", UNKNOWN, None),  # an alias of the IPv4 tree
        ("::5.43.1.2", UNKNOWN, None),
    ],
)
def test_answers_for_one_address(address: str, region: Region, record: object) -> None:
    """Region and record of a single address can be looked up."""
    database = Database.open(small_file(), "x.mmdb")
    assert database.region_at(ip_address(address)) == region
    assert database.record_at(ip_address(address)) == record


def test_knows_which_families_it_covers(tmp_path: Path) -> None:
    """A family is known if any of its addresses has a country; a continent alone is not enough."""
    both = opened(tmp_path)
    assert (both.knows(4), both.knows(6)) == (True, True)
    ipv6 = opened(tmp_path, {"11.0.0.0/8": country("", continent="AS"), "2a00::/16": city("UA")})
    assert (ipv6.knows(4), ipv6.knows(6)) == (False, True)
    ipv4 = opened(tmp_path, {"5.0.0.0/8": city("UA")}, ip_version=4)
    assert (ipv4.ip_version, ipv4.knows(4), ipv4.knows(6)) == (4, True, False)


def test_reads_descriptors_and_mapped_files(tmp_path: Path) -> None:
    """A database is the same from bytes, a mapped file and a descriptor; the descriptor stays open."""
    path = tmp_path / "x.mmdb"
    path.write_bytes(small_file())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        by_descriptor = Database.open(descriptor, "x.mmdb")
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
            by_map = Database.open(mapped, "x.mmdb")
            assert by_map.record_at(ip_address("5.43.1.2")) == RECORDS["5.43.0.0/16"]
            del by_map
        os.fstat(descriptor)
    finally:
        os.close(descriptor)
    by_bytes = Database.open(small_file(), "x.mmdb")
    assert by_descriptor.sha256 == by_bytes.sha256
    assert by_descriptor.regions == by_bytes.regions
    assert by_descriptor.ipv6.values.tolist() == by_bytes.ipv6.values.tolist()


def test_a_descriptor_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, or a descriptor for writing only, is bad data too."""
    for path, flags in ((tmp_path, os.O_RDONLY), (tmp_path / "new", os.O_WRONLY | os.O_CREAT)):
        descriptor = os.open(path, flags)
        try:
            with pytest.raises(DataError, match=r"^x\.mmdb: .*; give a database that can be read"):
                Database.open(descriptor, "x.mmdb")
        finally:
            os.close(descriptor)


def test_an_empty_database_is_refused(tmp_path: Path) -> None:
    """A database in which no network has a record is refused."""
    with pytest.raises(DataError, match="'GeoIP2-City' is empty, no countries"):
        opened(tmp_path, {})


def test_strange_codes_are_one_warning(tmp_path: Path) -> None:
    """Codes that are no countries are unknown, with one warning for all of them."""
    database = opened(tmp_path, {"5.0.0.0/8": city("QQ"), "6.0.0.0/8": city("UA"), "7.0.0.0/8": city("JJ")})
    assert database.warnings == ("codes that are not in ISO 3166-1, taken as unknown: JJ, QQ",)
    assert database.region_at(ip_address("5.1.1.1")) == UNKNOWN
    assert opened(tmp_path).warnings == ()


def changed(file: bytes, old: bytes, new: bytes) -> bytes:
    """Return a file in which a text that occurs once is replaced by other bytes of the same length."""
    assert file.count(old) == 1
    assert len(old) == len(new)
    return file.replace(old, new)


NAMED = {
    "continent": {"code": "EU", "names": {"en": "Europa-name"}},
    "country": {"iso_code": "UA", "names": {"en": "Ukraine-name"}},
    "registered_country": {"iso_code": "PL", "names": {"en": "Poland-name"}},
    "subdivisions": [{"iso_code": "43", "names": {"en": "Crimea-name"}}],
    "city": {"names": {"en": "Yalta-name"}},
    "postal": {"code": "postal-code"},
}


@pytest.mark.parametrize(
    "text", ["Europa-name", "Ukraine-name", "Poland-name", "Crimea-name", "Yalta-name", "postal-code"]
)
def test_broken_fields_beside_a_sound_country(tmp_path: Path, text: str) -> None:
    """A broken name does not affect the region, and the rest of the record can still be read."""
    path = write_database(tmp_path / "x.mmdb", {"5.0.0.0/8": NAMED, "2a00::/16": NAMED}, database_type="GeoIP2-City")
    sound = Database.open(path.read_bytes(), "x.mmdb")
    broken = Database.open(changed(path.read_bytes(), text.encode(), b"\xff" * len(text)), "x.mmdb")
    assert broken.regions == sound.regions == (UNKNOWN, Region("UA", "UA-43", "EU"))
    record = json.dumps(broken.record_at(ip_address("5.1.1.1")))
    assert record == json.dumps(sound.record_at(ip_address("5.1.1.1"))).replace(text, UNREADABLE)


@pytest.mark.parametrize("code", ["U-A", "4-3"])
def test_broken_codes_are_damage(tmp_path: Path, code: str) -> None:
    """A code of the country or subdivision that is no text is refused, because it decides the region."""
    record = {"country": {"iso_code": "U-A" if code == "U-A" else "UA"}, "subdivisions": [{"iso_code": "4-3"}]}
    path = write_database(tmp_path / "x.mmdb", {"5.0.0.0/8": record, "6.0.0.0/8": city("UA")})
    with pytest.raises(DataError, match="damaged database: the value"):
        Database.open(changed(path.read_bytes(), code.encode(), b"\xff\xff\xff"), "x.mmdb")


@pytest.mark.parametrize("keep", [0, 1, 100, 600, -1, -10, -100])
def test_truncated_files_are_refused(keep: int) -> None:
    """A file truncated anywhere is bad data, and the message has its name."""
    with pytest.raises(DataError, match=r"^x\.mmdb: ") as failure:
        Database.open(small_file()[:keep], "x.mmdb")
    assert failure.value.next_step


def test_zeroed_files_are_refused() -> None:
    """A file of zeroes, or one whose tree or data was never written, is bad data."""
    file = small_file()
    metadata = read_metadata(file, "x.mmdb")
    tree_end = metadata.data_start - 16
    data_length = metadata.data_end - metadata.data_start
    for damaged in (
        bytes(len(file)),
        bytes(tree_end) + file[tree_end:],
        file[: metadata.data_start] + bytes(data_length) + file[metadata.data_end :],
    ):
        with pytest.raises(DataError, match=r"^x\.mmdb: "):
            Database.open(damaged, "x.mmdb")


@settings(max_examples=300, deadline=5_000)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=3))
@example([0])
def test_flipped_bits_are_refused_or_read(flips: list[int]) -> None:
    """Whatever bits are flipped, the result is soon a DataError or a consistent database."""
    file = bytearray(small_file())
    for flip in flips:
        position = flip % (len(file) * 8)
        file[position // 8] ^= 1 << position % 8
    try:
        database = Database.open(bytes(file), "x.mmdb")
    except DataError as failure:
        assert str(failure).startswith("x.mmdb: ")  # noqa: PT017 - most flips, but not all, are refused
        return
    for partition in (database.ipv4, database.ipv6):
        assert partition.starts[0] == (0 if partition.family == 4 else b"")
        assert (partition.starts[1:] > partition.starts[:-1]).all()
        assert 0 <= partition.values.min() <= partition.values.max() < len(database.regions)
    for layer in (database.networks, database.traits):
        for partition in (layer.ipv4, layer.ipv6):
            assert 0 <= partition.values.min() <= partition.values.max() < len(layer.values)


def test_a_flipped_pointer_to_a_node_is_always_found(tmp_path: Path) -> None:
    """A flipped bit in a pointer to a node is always found: some node is then unreachable or visited twice."""
    file = write_database(tmp_path / "x.mmdb", RECORDS).read_bytes()
    nodes = read_metadata(file, "x.mmdb").node_count
    for number in range(nodes * 2):
        at = number * 3
        record = int.from_bytes(file[at : at + 3], "big")
        if record < nodes:
            damaged = (record ^ 1 << number % 24).to_bytes(3, "big")
            with pytest.raises(DataError, match="damaged database"):
                Database.open(file[:at] + damaged + file[at + 3 :], "x.mmdb")
