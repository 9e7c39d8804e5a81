# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from geodrop.errors import DataError
from geodrop.geo.metadata import MARKER, MARKER_WITHIN, read_metadata
from tests.unit.geo.mmdb_files import SEPARATOR, assembled, encoded, metadata

DATA = encoded({"country_code": "UA"})
NODES = [(17, 17)]


def test_reads_what_the_file_says_of_itself() -> None:
    """All fields are read, and the start and end of the data section."""
    read = read_metadata(assembled(NODES, DATA, metadata()), "x.mmdb")
    assert (read.name, read.database_type, read.build_epoch) == ("x.mmdb", "Test", 1_780_000_000)
    assert (read.ip_version, read.node_count, read.record_size) == (4, 1, 24)
    assert (read.data_start, read.data_end) == (6 + 16, 6 + 16 + len(DATA))


def test_the_last_marker_counts() -> None:
    """The last marker counts; a marker inside the data section is data."""
    file = assembled(NODES, encoded({"country_code": "UA", "x": MARKER}), metadata())
    assert read_metadata(file, "x.mmdb").data_end == file.rindex(MARKER) > file.index(MARKER)


def test_a_broken_description_is_no_damage() -> None:
    """A broken description of a database is ignored."""
    file = assembled(NODES, encoded({"country_code": "UA"}), metadata(description={"en": "description"}))
    broken = file.replace(b"\x42en\x4bdescription", b"\x42en\x4b" + b"\xff" * 11)
    assert broken != file
    assert read_metadata(broken, "x.mmdb") == read_metadata(file, "x.mmdb")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "x.mmdb: it is empty; give the .mmdb file"),
        (b"<html>404</html>", "x.mmdb: not a MaxMind DB file"),
        (bytes(1000), "x.mmdb: not a MaxMind DB file"),
        (MARKER, "the record at byte 14 cannot be read"),
        (MARKER + encoded("text"), "its metadata is not a map"),
        (assembled(NODES, DATA, metadata()) + bytes(MARKER_WITHIN), "not a MaxMind DB file, or its end is missing"),
        (assembled(NODES, DATA, metadata())[:-20], "cannot be read"),
        (assembled(NODES, DATA, metadata(node_count=2)), "damaged database: no separator"),
        (assembled(NODES, DATA, metadata(node_count=1000)), "damaged database: 1000 nodes do not fit"),
        (SEPARATOR.join([bytes(6), DATA]) + MARKER + encoded(metadata(node_count=10)), "10 nodes do not fit"),
        (bytes(6) + b"\1" * 16 + DATA + MARKER + encoded(metadata()), "no separator after its search tree"),
    ],
)
def test_refuses_damaged_files(file: bytes, message: str) -> None:
    """Truncated and zeroed files, and files of another kind, are refused with the problem and the next step."""
    with pytest.raises(DataError) as failure:
        read_metadata(file, "x.mmdb")
    assert message in str(failure.value)
    assert failure.value.next_step


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("binary_format_major_version", 3),
        ("binary_format_major_version", None),
        ("record_size", 25),
        ("record_size", 0),
        ("record_size", "24"),
        ("record_size", 300),
        ("node_count", 0),
        ("node_count", None),
        ("node_count", [1]),
        ("node_count", 2**128 - 1),
        ("node_count", True),
        ("ip_version", 5),
        ("ip_version", None),
        ("build_epoch", 2**64 - 1),  # later code could not write it as a date
        ("build_epoch", -1),
        ("build_epoch", "yesterday"),
        ("database_type", None),
        ("database_type", 7),
        ("database_type", "\x1b[2J"),
        ("database_type", "x" * 1_000),
    ],
)
def test_refuses_fields_that_cannot_be(field: str, value: object) -> None:
    """Every field that is used is checked, for its type and against the size of the file."""
    file = assembled(NODES, DATA, metadata(**{field: value}))
    with pytest.raises(DataError, match=r"^x\.mmdb: "):
        read_metadata(file, "x.mmdb")
