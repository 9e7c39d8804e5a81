import hashlib
import json
import struct
from pathlib import Path

import pytest

from geodrop.errors import DataError
from geodrop.ruleset import container

META = {"name": "Ürümqi", "list": [1, 2]}
SECTIONS = {"b": b"12345", "a": b"", "long": bytes(range(256)) * 3}


@pytest.fixture
def packed() -> bytes:
    """A small file with an empty, a short and a long section."""
    return container.pack(META, SECTIONS)


def test_unpack_gives_back_what_was_packed(packed: bytes) -> None:
    """Meta and sections survive the round trip, and sections can be read in place as wide integers."""
    opened = container.unpack(packed, "file")
    assert opened.meta == META
    assert {name: bytes(view) for name, view in opened.sections.items()} == SECTIONS
    assert opened.sections["long"].cast("I")[0] == 0x03020100


def test_same_content_gives_the_same_bytes(packed: bytes) -> None:
    """The order in which parts are handed over does not show in the file."""
    shuffled = container.pack(dict(reversed(META.items())), dict(reversed(SECTIONS.items())))
    assert shuffled == packed


def test_sections_are_read_only_and_aligned(packed: bytes) -> None:
    """A reader cannot change what was verified; sections start at cache-line boundaries."""
    opened = container.unpack(packed, "file")
    with pytest.raises(TypeError):
        opened.sections["b"][0] = 0
    table = json.loads(packed[48 : 48 + struct.unpack_from("<I", packed, 44)[0]])["sections"]
    assert all(start % container.ALIGNMENT == 0 for start, _ in table.values())


@pytest.mark.parametrize("length", [0, 1, 7, 8, 47, 48, 60, 500])
def test_cut_file_is_refused(packed: bytes, length: int) -> None:
    """A copy that broke off anywhere is recognised."""
    with pytest.raises(DataError, match="file: "):
        container.unpack(packed[:length], "file")


def test_every_altered_byte_is_noticed(packed: bytes) -> None:
    """No byte of the file is outside the digest, the magic or the version."""
    for at in range(len(packed)):
        altered = bytearray(packed)
        altered[at] ^= 0x01
        with pytest.raises(DataError):
            container.unpack(bytes(altered), "file")


def test_newer_version_says_upgrade(packed: bytes) -> None:
    """A file of a newer geodrop is recognised as such, not as damaged."""
    newer = bytearray(packed)
    struct.pack_into("<I", newer, 8, container.VERSION + 1)
    with pytest.raises(DataError, match="upgrade geodrop"):
        container.unpack(bytes(newer), "file")


def test_section_outside_the_file_is_refused() -> None:
    """Even with a right digest, a section must lie inside the file."""
    body = b'{"meta":{},"sections":{"a":[64,10000]}}'
    digest = hashlib.sha256(struct.pack("<I", len(body)) + body).digest()
    data = container.HEADER.pack(container.MAGIC, container.VERSION, digest, len(body)) + body
    with pytest.raises(DataError, match="damaged"):
        container.unpack(data, "file")


def test_missing_and_empty_files_are_data_errors(tmp_path: Path) -> None:
    """A file that is not there, or holds nothing, is bad data with a next step."""
    missing = tmp_path / "none.ruleset"
    with pytest.raises(DataError, match="No such file"):
        container.open_file(missing)
    missing.touch()
    with pytest.raises(DataError, match="not a geodrop ruleset"):
        container.open_file(missing)
