# SPDX-License-Identifier: Apache-2.0
"""Logs come in blocks of whole lines, whatever they hold."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import DataError
from geodrop.simulate.blocks import LONGEST, SIZE, blocks

if TYPE_CHECKING:
    from pathlib import Path


def lines(path: Path, content: bytes) -> list[bytes]:
    """Return the lines of a log with this content."""
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = list(blocks(descriptor))
    finally:
        os.close(descriptor)
    assert all(block.endswith(b"\n") for block in found)
    return b"".join(found).splitlines()


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", []), (b"a", [b"a"]), (b"a\n\nb\n", [b"a", b"", b"b"]), (b"\xef\xbb\xbfa\r\nb", [b"a", b"b"])],
)
def test_small(tmp_path: Path, content: bytes, expected: list[bytes]) -> None:
    """A missing newline at the end is added; a byte order mark is left out."""
    assert lines(tmp_path / "log", content) == expected


def test_a_line_longer_than_a_block_keeps_its_beginning(tmp_path: Path) -> None:
    """Its neighbours stay whole, and each line stays one line."""
    long = b"1.2.3.4 " + b"x" * (3 * SIZE)
    found = lines(tmp_path / "log", b"first\n" + long + b"\nlast\n" + long)
    assert [found[0], found[2]] == [b"first", b"last"]
    assert found[1] == long[: len(found[1])]
    assert len(found[1]) >= LONGEST
    assert len(found) == 4


def test_many_blocks_lose_nothing(tmp_path: Path) -> None:
    """Lines across the bounds of blocks are whole, plain and packed."""
    content = b"".join(b"%d\n" % number for number in range(400_000))
    assert len(content) > SIZE
    assert lines(tmp_path / "log", content) == content.splitlines()
    assert lines(tmp_path / "log", gzip.compress(content, 1)) == content.splitlines()


@pytest.mark.parametrize("harm", [lambda data: data[:-20], lambda data: data[:4000] + bytes(50) + data[4050:]])
def test_damaged_gzip(tmp_path: Path, harm: object) -> None:
    """What is in front of the damage is read, then the damage is told."""
    content = b"".join(b"%d\n" % (number * 7919 % 100_003) for number in range(50_000))
    (tmp_path / "log").write_bytes(harm(gzip.compress(content)))  # type: ignore[operator]
    descriptor = os.open(tmp_path / "log", os.O_RDONLY)
    found: list[bytes] = []
    try:
        with pytest.raises(DataError, match="the rest cannot be read"):
            found.extend(blocks(descriptor))
    finally:
        os.close(descriptor)
    read = b"".join(found)
    assert len(read) > 1000
    assert content.startswith(read[:1000])
