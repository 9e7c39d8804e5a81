# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv6Network, ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maxminddb import MODE_FILE, open_database

from geodrop.errors import DataError
from geodrop.geo.metadata import read_metadata
from geodrop.geo.mmdb import NO_DATA, read_tree
from geodrop.geo.partition import BITS
from geodrop.geo.section import DataSection
from tests.support.databases import ALIASES, write_database
from tests.unit.geo.addresses import address_text, decode
from tests.unit.geo.mmdb_files import assembled, encoded, metadata, resized

if TYPE_CHECKING:
    from geodrop.geo.mmdb import Tree
    from geodrop.geo.partition import Partition

UA = encoded({"country_code": "UA"})

RECORDS = {
    "1.0.0.0/24": {"country_code": "AU"},
    "1.0.1.0/24": {"country_code": "CN"},
    "1.0.1.128/25": {"country_code": "UA"},
    "1.0.1.255/32": {"country_code": "US"},
    "128.0.0.0/1": {"country_code": "US"},
    "200.0.0.0/8": {"country_code": "BR"},
    "255.255.255.255/32": {"country_code": "CN"},
    "2000::/3": {"country_code": "US"},
    "2400:1000::/21": {"country_code": "CN"},
    "2400:1000:0:1::/64": {"country_code": "UA"},
    "2400:1000:0:3:8000::/65": {"country_code": "UA"},
    "2400:1000:0:4::7/128": {"country_code": "BR"},
    "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128": {"country_code": "AU"},
    "8000::/2": {"country_code": "CN"},
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128": {"country_code": "BR"},
}


def tree_of(file: bytes) -> Tree:
    """Return the tree of a whole file."""
    return read_tree(file, read_metadata(file, "x.mmdb"))


def boundaries(partition: Partition) -> list[int]:
    """Return the first and last address of every interval."""
    starts = decode(partition.family, partition.starts)
    last = (1 << (32 if partition.family == 4 else 128)) - 1
    return sorted({*starts, *(start - 1 for start in starts[1:]), last})


def check_against_reader(file: bytes, path: Path, *, aliases: bool = False, more: list[int] | None = None) -> None:
    """Check that every boundary, and `more`, has the record that maxminddb's pure-Python reader finds.

    Where the file repeats its IPv4 tree among IPv6 addresses, there must be no data; ::/96 is not checked.
    """
    path.write_bytes(file)
    tree = tree_of(file)
    section = DataSection(file, read_metadata(file, "x.mmdb").data_start, "x.mmdb")
    ipv4_tree = IPv6Network("::/96")
    shown_again = [IPv6Network(text) for text in ALIASES] if aliases else []
    with open_database(path, MODE_FILE) as reader:
        partitions = [tree.ipv4, tree.ipv6] if reader.metadata().ip_version == 6 else [tree.ipv4]
        for partition in partitions:
            assert len(partition) == len(partition.merged())
            for number in {*boundaries(partition), *(more or [])}:
                text = address_text(partition.family, number & (1 << BITS[partition.family]) - 1)
                address = ip_address(text)
                if address in ipv4_tree:
                    continue
                value = partition.value_at(int(address))
                found = None if value == NO_DATA else section.decode(tree.offsets[value])
                hidden = any(address in network for network in shown_again)
                assert found == (None if hidden else reader.get(address)), address


@pytest.mark.parametrize("record_size", [24, 28, 32])
@pytest.mark.parametrize("aliases", [False, True])
def test_agrees_with_the_reader(tmp_path: Path, record_size: int, aliases: bool) -> None:  # noqa: FBT001
    """All record sizes, with and without aliases, give what maxminddb's reader gives, at every boundary."""
    file = write_database(tmp_path / "a.mmdb", RECORDS, aliases=aliases).read_bytes()
    edges = [int(ip_network(text).network_address) for text in RECORDS]
    edges += [int(ip_network(text).broadcast_address) for text in RECORDS]
    around = [edge + step for edge in edges for step in (-1, 0, 1) if edge + step >= 0]
    check_against_reader(resized(file, record_size), tmp_path / "b.mmdb", aliases=aliases, more=around)


@pytest.mark.parametrize("record_size", [28, 32])
@pytest.mark.parametrize("left", [False, True])
def test_the_highest_bits_of_large_records_count(record_size: int, left: bool) -> None:  # noqa: FBT001
    """The highest bits of 28-bit and 32-bit records are read: such a record leads out of a small file."""
    high = 17 | 1 << record_size - 1
    nodes = [(high, 17) if left else (17, high)]
    with pytest.raises(DataError, match="outside of the data section"):
        tree_of(assembled(nodes, UA, metadata(record_size=record_size), record_size))
    good = assembled([(17, 17)], UA, metadata(record_size=record_size), record_size)
    assert tree_of(good).ipv4.values.tolist() == [0]


def test_ipv4_only(tmp_path: Path) -> None:
    """A database of IP version 4 has its IPv4 tree at the root, and nothing for IPv6."""
    records = {text: record for text, record in RECORDS.items() if ":" not in text}
    file = write_database(tmp_path / "a.mmdb", records, ip_version=4).read_bytes()
    check_against_reader(file, tmp_path / "b.mmdb")
    assert tree_of(file).ipv6.values.tolist() == [NO_DATA]


def test_aliases_do_not_count_twice(tmp_path: Path) -> None:
    """The intervals are the same with and without aliases, apart from the data that aliases replace."""
    with_aliases = tree_of(write_database(tmp_path / "a.mmdb", RECORDS, aliases=True).read_bytes())
    without = tree_of(write_database(tmp_path / "b.mmdb", RECORDS).read_bytes())
    assert with_aliases.ipv4.values.tolist() == without.ipv4.values.tolist()
    assert decode(4, with_aliases.ipv4.starts) == decode(4, without.ipv4.starts)
    assert with_aliases.ipv6.value_at(int(ip_address("2002:100::1"))) == NO_DATA
    assert with_aliases.ipv6.value_at(int(ip_address("::ffff:1.0.0.1"))) == NO_DATA
    assert without.ipv6.value_at(int(ip_address("2002:100::1"))) != NO_DATA
    # An alias adds at most its own two edges.
    assert len(with_aliases.ipv6) <= len(without.ipv6) + 2 * len(ALIASES)


def test_the_way_to_ipv4_may_end_early(tmp_path: Path) -> None:
    """If ::/64 is one record, as in some databases, it is the record of all IPv4 addresses."""
    file = write_database(tmp_path / "a.mmdb", {"::/64": {"country_code": "UA"}, "2a00::/16": {}}).read_bytes()
    tree = tree_of(file)
    assert len(tree.ipv4) == 1
    assert tree.ipv4.values[0] != NO_DATA
    nothing = tree_of(write_database(tmp_path / "b.mmdb", {"2a00::/16": {"country_code": "UA"}}).read_bytes())
    assert nothing.ipv4.values.tolist() == [NO_DATA]


def test_neighbours_with_the_same_record_are_joined_around_long_prefixes(tmp_path: Path) -> None:
    """A network longer than /64 between two networks of the same record divides them, and only there."""
    inside = IPv6Network("2400:0:0:8::1234/126")
    file = write_database(tmp_path / "a.mmdb", {"2400::/16": {"a": 1}, str(inside): {"a": 2}}).read_bytes()
    tree = tree_of(file)
    around = ip_network("2400::/16")
    assert decode(6, tree.ipv6.starts) == [
        0,
        int(around.network_address),
        int(inside.network_address),
        int(inside.broadcast_address) + 1,
        int(around.broadcast_address) + 1,
    ]
    values = tree.ipv6.values.tolist()
    assert values[0] == values[4] == NO_DATA
    assert values[1] == values[3] != values[2]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([(0, 18)], "cycles"),
        ([(1, 19), (1, 1)], "cycles"),
        ([(1, 2), (2, 19), (19, 19)], "cycles or shared branches"),
        ([(1, 1), (18, 18)], "cycles or shared branches"),
        ([(18, 18), (18, 18)], "only 1 of 2 nodes hang together"),
        ([(2, 3), (20, 20), (3, 20), (20, 20)], "hang together|shared"),
        ([(number + 1, 50) for number in range(33)] + [(50, 50)], "below single addresses"),
        ([(3, 17)], "outside of the data section"),
        ([(17, 17 + len(UA))], "outside of the data section"),
        ([(17, 0xFFFFFF)], "outside of the data section"),
    ],
)
def test_refuses_trees_that_are_none(nodes: list[tuple[int, int]], message: str) -> None:
    """Cycles, shared and unreachable branches, too many levels, and records that point nowhere are damage."""
    file = assembled(nodes, UA, metadata(node_count=len(nodes)))
    with pytest.raises(DataError, match=message) as failure:
        tree_of(file)
    assert str(failure.value).startswith("x.mmdb: damaged database: ")


def test_sharing_cannot_blow_up() -> None:
    """A chain of nodes whose two records are both the next node would have 2^32 leaves; it is refused at once."""
    nodes = [(number + 1, number + 1) for number in range(31)] + [(49, 49)]
    with pytest.raises(DataError, match="shared branches"):
        tree_of(assembled(nodes, UA, metadata(node_count=len(nodes))))


def test_a_pointer_to_the_ipv4_tree_inside_itself_is_a_cycle(tmp_path: Path) -> None:
    """Only the IPv6 tree may repeat the IPv4 tree; inside the IPv4 tree such a pointer is damage."""
    file = bytearray(write_database(tmp_path / "a.mmdb", {"1.0.0.0/8": {"a": 1}}).read_bytes())
    # Nodes are numbered in the order of a walk, so number 96 is the IPv4 root and 97 its left child.
    file[97 * 6 + 3 : 98 * 6] = (96).to_bytes(3, "big")
    with pytest.raises(DataError, match=r"cycles|hang together"):
        tree_of(bytes(file))


@st.composite
def ipv6_networks(draw: st.DrawFn) -> str:
    """Draw networks of any length, many of them inside each other, longer than /64 or inside ::/96."""
    number = draw(
        st.one_of(st.integers(0, 2**33), st.integers(0, 2**128 - 1), st.integers(0, 15).map(lambda n: n << 60))
    )
    shift = 128 - draw(st.integers(1, 128))
    return str(IPv6Network((number >> shift << shift, 128 - shift)))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(ipv6_networks(), st.sampled_from([{"code": code} for code in "ABC"]), min_size=1, max_size=12))
def test_random_databases_agree_with_the_reader(records: dict[str, Any]) -> None:
    """Databases of random networks are read as maxminddb's reader reads them, in both families."""
    with TemporaryDirectory() as folder:
        file = write_database(Path(folder) / "a.mmdb", records).read_bytes()
        check_against_reader(file, Path(folder) / "b.mmdb")
