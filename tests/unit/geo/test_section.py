# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import mmap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maxminddb.decoder import Decoder
from mmdb_writer import Encoder

from geodrop.errors import DataError
from geodrop.geo.section import EVERYTHING, MAX_VALUES, UNREADABLE, DataSection, damaged
from tests.unit.geo.mmdb_files import encoded

WANTED = frozenset({"country", "code"})

scalars = st.one_of(
    st.text(max_size=40),
    st.text(min_size=290, max_size=300),
    st.binary(max_size=40),
    st.integers(-(2**31), 2**128 - 1),
    st.booleans(),
    st.floats(allow_nan=False),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
records = st.dictionaries(st.sampled_from(["country", "code", "names", "a", ""]), values, max_size=5)


def written(record: dict[str, Any], *, shared: bool) -> tuple[bytes, int]:
    """Return a data section with one record, and its start; `shared` puts every key and value behind a pointer."""
    if not shared:
        return encoded(record), 0
    encoder = Encoder(cache=True)
    offset = encoder.encode(record, return_offset=True)
    return b"".join(encoder.data_list), offset


@given(records, st.booleans(), st.integers(0, 5_000))
def test_fields_are_what_the_decoder_finds(record: dict[str, Any], shared: bool, start: int) -> None:  # noqa: FBT001
    """The wanted fields and their values are those of maxminddb's decoder, inline or behind pointers."""
    data, offset = written(record, shared=shared)
    file = bytes(start) + data
    section = DataSection(file, start, "x.mmdb")
    # Not compared with `record` itself: mmdb_writer merges values that compare equal, such as 1 and True.
    expected, _ = Decoder(file, start).decode(start + offset)
    assert isinstance(expected, dict)
    found = {field: section.decode(value) for field, value in section.fields(start + offset, WANTED) or ()}
    assert found == {field: value for field, value in expected.items() if field in WANTED}
    assert section.decode(start + offset) == expected


@pytest.mark.parametrize("distance", [0, 2_047, 2_048, 526_335, 526_336, 134_744_063, 134_744_064])
def test_pointers_of_every_width(distance: int) -> None:
    """A pointer leads to the same place as in maxminddb's decoder, at both ends of the range of each width."""
    pointer = Encoder(cache=False)._encode_pointer(distance)
    target, _ = Decoder(pointer, pointer_test=True).decode(0)
    data = mmap.mmap(-1, distance + 100)
    data[distance : distance + 3] = encoded("UA")
    record = distance + 10
    encoded_record = b"\xe1" + encoded("code") + pointer
    data[record : record + len(encoded_record)] = encoded_record
    section = DataSection(data, 0, "x.mmdb")
    ((field, value),) = section.fields(record, WANTED) or ()
    assert (target, field, section.decode(value)) == (distance, "code", "UA")


def test_records_that_share_values_give_equal_references() -> None:
    """Two records that point to one value give equal references, so that it needs to be decoded only once."""
    encoder = Encoder(cache=True)
    shared = {"iso_code": "UA"}
    offsets = [encoder.encode({"country": shared, "city": city}, return_offset=True) for city in ("Kyiv", "Lviv")]
    section = DataSection(b"".join(encoder.data_list), 0, "x.mmdb")
    assert offsets[0] != offsets[1]
    assert section.fields(offsets[0], WANTED) == section.fields(offsets[1], WANTED) != ()


def test_a_record_behind_a_pointer() -> None:
    """The search tree may lead to a pointer; it is followed."""
    data = b"\x20\x02" + encoded({"code": "UA"})
    section = DataSection(data, 0, "x.mmdb")
    assert [section.decode(value) for _, value in section.fields(0, WANTED) or ()] == ["UA"]


def test_items_are_those_of_the_array() -> None:
    """An array, inline or behind a pointer, gives its values, also shared ones; any other value gives None."""
    encoder = Encoder(cache=True)
    offset = encoder.encode({"a": [{"code": "UA"}, {"code": "UA"}, [1, 2], "text"], "b": "text"}, return_offset=True)
    section = DataSection(b"".join(encoder.data_list), 0, "x.mmdb")
    values = dict(section.fields(offset, EVERYTHING) or ())
    found = [section.decode(value) for value in section.items(values["a"]) or ()]
    assert found == [{"code": "UA"}, {"code": "UA"}, [1, 2], "text"]
    assert section.items(values["b"]) is None
    assert section.items(offset) is None
    assert DataSection(encoded([]), 0, "x.mmdb").items(0) == ()


def test_what_cannot_be_read_is_marked() -> None:
    """Broken parts of a record are marked, however deep they are, and everything else is read."""
    whole = {"a": {"b": ["one", "broken"], "c": 5}, "d": "text"}
    data = encoded(whole)
    section = DataSection(data.replace(b"broken", b"\xff" * 6), 0, "x.mmdb")
    assert DataSection(data, 0, "x.mmdb").readable(0) == whole
    assert section.readable(0) == {"a": {"b": ["one", UNREADABLE], "c": 5}, "d": "text"}
    assert DataSection(b"\xe1\x42", 0, "x.mmdb").readable(0) == UNREADABLE


def test_reading_what_is_broken_ends() -> None:
    """Reading ends for maps that lead back to themselves, or double with every level."""
    assert UNREADABLE in str(DataSection(b"\xe1\x41a\x20\x00", 0, "x.mmdb").readable(0))
    levels = b"".join(b"\xe2\x41a\x20" + bytes([9 * n]) + b"\x41b\x20" + bytes([9 * n]) for n in range(1, 26))
    found = DataSection(levels + b"\xe1\x41a\x42\xff\xff", 0, "x.mmdb").readable(0)
    assert UNREADABLE in str(found)


@pytest.mark.parametrize("value", ["text", 5, [1, 2], True, b"\x00"])
def test_what_is_no_map_has_no_fields(value: object) -> None:
    """Records of other types, which the format allows, are distinguished from empty maps."""
    assert DataSection(encoded(value), 0, "x.mmdb").fields(0, WANTED) is None
    assert DataSection(encoded({}), 0, "x.mmdb").fields(0, WANTED) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xe1",  # a map of one entry without its key
        b"\xe1\x42",  # a key cut off before its value
        b"\xe1\xa1\x05\x41a",  # a number for a key
        b"\xe1\x42\xff\xff\x41a",  # a key that is not UTF-8
        b"\xe1\x41a\x01\x05",  # the unused type 12
        b"\xe1\x20\x01\x41a",  # a key behind a pointer to a pointer
        b"\xe1\x41a\x5f\xff\xff\xff",  # a skipped string longer than the file, and nothing after it
        b"\xff\xff\xff\xff" + b"\x41a" * 10,  # a map of 16 million fields
        b"\xe1\x41a" + b"\xe1\x41a" * 70_000,  # nested deeper than any record
        b"\xe2\x41a\x1f\x04\xff\xff\xff",  # a skipped array of 16 million values
    ],
)
def test_damage_is_a_data_error_that_names_the_file(data: bytes) -> None:
    """Any damage in a record is a DataError with the file's name, and found quickly."""
    section = DataSection(data, 0, "x.mmdb")
    with pytest.raises(DataError, match=r"^x\.mmdb: damaged database: .*fetch it again"):
        section.fields(0, WANTED)


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_a_data_error(data: bytes) -> None:
    """Any bytes give fields, whose values may or may not be decodable, or a DataError."""
    section = DataSection(data, 0, "x.mmdb")
    with contextlib.suppress(DataError):
        for _, value in section.fields(0, WANTED) or ():
            section.decode(value)


def test_the_bound_on_values_is_that_of_the_decoder() -> None:
    """A record with as many values as maxminddb allows is read, a record with more is not."""
    most = DataSection(encoded({"a": [True] * (MAX_VALUES - 4), "code": "UA"}), 0, "x.mmdb")
    assert [most.decode(value) for _, value in most.fields(0, WANTED) or ()] == ["UA"]
    more = DataSection(encoded({"a": [True] * (MAX_VALUES + 1), "code": "UA"}), 0, "x.mmdb")
    with pytest.raises(DataError, match="too many values"):
        more.fields(0, WANTED)


def test_damaged_says_what_to_do() -> None:
    """The error for a damaged database names file, damage and next step."""
    assert str(damaged("x.mmdb", "torn")).startswith("x.mmdb: damaged database: torn; fetch it again")
