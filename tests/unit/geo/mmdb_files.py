# SPDX-License-Identifier: Apache-2.0
"""MaxMind DB files written byte by byte, as no ordinary writer makes them, and ordinary files in other record sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdb_writer import Encoder

from geodrop.geo.metadata import MARKER, read_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEPARATOR = bytes(16)


def metadata(**changes: object) -> dict[str, Any]:
    """Return the metadata of a small IPv4 database, with changes; None leaves a field out."""
    fields = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_780_000_000,
        "database_type": "Test",
        "description": {},
        "ip_version": 4,
        "languages": [],
        "node_count": 1,
        "record_size": 24,
        **changes,
    }
    return {field: value for field, value in fields.items() if value is not None}


def encoded(value: object) -> bytes:
    """Return a value as encoded in a data section, without pointers."""
    data: bytes = Encoder(cache=False).encode(value)
    return data


def assembled(
    nodes: Sequence[tuple[int, int]], data: bytes, content: Mapping[str, Any], record_size: int = 24
) -> bytes:
    """Return a whole file."""
    tree = b"".join(node(left, right, record_size) for left, right in nodes)
    return tree + SEPARATOR + data + MARKER + encoded(dict(content))


def node(left: int, right: int, record_size: int) -> bytes:
    """Return a node of the search tree, in the layout of the specification."""
    if record_size == 28:
        middle = left >> 24 << 4 | right >> 24
        return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")
    width = record_size // 8
    return left.to_bytes(width, "big") + right.to_bytes(width, "big")


def resized(file: bytes, record_size: int) -> bytes:
    """Rewrite a file of 24-bit records with records of another size."""
    before = read_metadata(file, "before")
    assert before.record_size == 24
    numbers = [int.from_bytes(file[at : at + 3], "big") for at in range(0, before.node_count * 6, 3)]
    tree = b"".join(node(left, right, record_size) for left, right in zip(numbers[::2], numbers[1::2], strict=True))
    head, field, tail = file[before.data_start - 16 :].rpartition(b"\x4brecord_size")
    assert tail[:2] == b"\xa1\x18"  # uint16 of one byte: 24
    return tree + head + field + bytes([0xA1, record_size]) + tail[2:]
