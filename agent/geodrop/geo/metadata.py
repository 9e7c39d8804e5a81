# SPDX-License-Identifier: Apache-2.0
"""The metadata of a MaxMind DB file, checked against the file before anything else is read.

Layout: MaxMind DB File Format Specification 2.0. The file is the search tree, 16 zero bytes, the data section, a
marker, and a map with the fields below, which ends the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError
from geodrop.geo.section import DataSection, damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.geo.section import Buffer

MARKER = b"\xab\xcd\xefMaxMind.com"
MARKER_WITHIN = 128 << 10  # bytes from the end of the file, by the specification
SEPARATOR = 16  # zero bytes between tree and data section
RECORD_SIZES = (24, 28, 32)
LONGEST_TYPE = 200  # characters; it is shown to people, and recorded in every ruleset
FIELDS = frozenset(
    {
        *("binary_format_major_version", "database_type", "build_epoch"),
        *("ip_version", "node_count", "record_size"),
    }
)
LAST_EPOCH = 253_402_300_799  # the end of the year 9999: what can be written as a date


@dataclass(frozen=True, slots=True)
class Metadata:
    """Checked metadata: the tree, the separator and the data section lie inside the file.

    `record_size` in bits, `build_epoch` in seconds since 1970, `data_start` and `data_end` in bytes from the start of
    the file.
    """

    name: str
    database_type: str
    build_epoch: int
    ip_version: int
    node_count: int
    record_size: int
    data_start: int
    data_end: int


def read_metadata(data: Buffer, name: str) -> Metadata:
    """Find and check the metadata. Raises DataError, with the file's name."""
    marker = data.rfind(MARKER, max(0, len(data) - MARKER_WITHIN))
    if marker < 0:
        what = "it is empty" if not len(data) else "not a MaxMind DB file, or its end is missing"
        raise DataError(f"{name}: {what}", "give the .mmdb file of a GeoIP database, complete and unpacked")
    start = marker + len(MARKER)
    section = DataSection(data, start, name)
    # Other fields, such as descriptions in many languages, are not read.
    fields = section.fields(start, FIELDS)
    if fields is None:
        raise damaged(name, "its metadata is not a map")
    content = {field: section.decode(value) for field, value in fields}
    version = content.get("binary_format_major_version")
    if version != 2:
        raise DataError(f"{name}: MaxMind DB format {version!r}, geodrop reads 2", "fetch the database in format 2")
    record_size = _number(content, "record_size", name, 0, 255)
    ip_version = _number(content, "ip_version", name, 0, 255)
    if record_size not in RECORD_SIZES:
        raise damaged(name, f"records of {record_size} bits instead of 24, 28 or 32")
    if ip_version not in (4, 6):
        raise damaged(name, f"IP version {ip_version}")
    database_type = content.get("database_type")
    if not isinstance(database_type, str) or not database_type.isprintable() or len(database_type) > LONGEST_TYPE:
        raise damaged(name, "no readable database_type in its metadata")
    node_count = _number(content, "node_count", name, 1, (1 << record_size) - 1)
    tree_end = node_count * record_size // 4
    data_start = tree_end + SEPARATOR
    if data_start > marker:
        raise damaged(name, f"{node_count} nodes do not fit into {marker} bytes")
    if any(data[tree_end:data_start]):
        raise damaged(name, "no separator after its search tree")
    return Metadata(
        name=name,
        database_type=database_type,
        build_epoch=_number(content, "build_epoch", name, 0, LAST_EPOCH),
        ip_version=ip_version,
        node_count=node_count,
        record_size=record_size,
        data_start=data_start,
        data_end=marker,
    )


def _number(content: Mapping[Any, Any], field: str, name: str, least: int, most: int) -> int:
    value = content.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise damaged(name, f"{field} in its metadata is {value!r}")
    return value
