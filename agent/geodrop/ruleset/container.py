r"""The ruleset file: a header, a JSON part and binary sections, under one digest.

    offset  size
    0       8     magic, b"geodrop\0"
    8       4     format version, uint32 little-endian
    12      32    SHA-256 of everything from byte 44 to the end of the file
    44      4     length of the JSON part in bytes, uint32 little-endian
    48      ...   the JSON part, UTF-8: {"meta": {...}, "sections": {name: [offset, length]}}
    ...     ...   the sections, each at a multiple of 64 from the start of the file, zero bytes between

Sections are read in place from a mapped file. The version stands outside the digest so that a newer file is
recognised as newer, not as damaged.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC = b"geodrop\0"
VERSION = 1
HEADER = struct.Struct("<8sI32sI")
DIGESTED = 44
ALIGNMENT = 64
MAX_SIZE = 1 << 30
PIECE = 1 << 17


@dataclass(frozen=True, slots=True)
class Container:
    """A verified file: `meta` decoded, `sections` as read-only views, `digest` as hex."""

    digest: str
    meta: Mapping[str, Any]
    sections: Mapping[str, memoryview]


def pack(meta: Mapping[str, Any], sections: Mapping[str, bytes]) -> bytes:
    """Lay out a file. The same arguments give the same bytes: keys are sorted, nothing is added."""
    # Offsets are part of the JSON whose length they depend on: give the JSON room first, fill the rest with spaces.
    lengths = {name: len(data) for name, data in sections.items()}
    room = len(_json(meta, dict.fromkeys(lengths, (MAX_SIZE, MAX_SIZE))))
    table, offset = {}, _aligned(HEADER.size + room)
    for name in sorted(lengths):
        table[name] = (offset, lengths[name])
        offset = _aligned(offset + lengths[name])
    parts = [_json(meta, table).ljust(room)]
    end = HEADER.size + room
    for name, (start, length) in table.items():
        parts += [bytes(start - end), sections[name]]
        end = start + length
    digest = hashlib.sha256(struct.pack("<I", room))
    for part in parts:
        digest.update(part)
    return b"".join([HEADER.pack(MAGIC, VERSION, digest.digest(), room), *parts])


def digest_of(data: bytes) -> str:
    """The digest that `pack` has put into a file, as hex."""
    digest: bytes = HEADER.unpack_from(data)[2]
    return digest.hex()


def unpack(data: bytes, name: str) -> Container:
    """Check a whole file in memory and open it; raises DataError, naming it, if it is not exactly what `pack` wrote."""
    digest = _expected_digest(data[: HEADER.size], name)
    _compare(hashlib.sha256(memoryview(data)[DIGESTED:]).digest(), digest, name)
    return _open(memoryview(data), digest, name)


def open_file(path: str | os.PathLike[str]) -> Container:
    """Check a file and map it; raises DataError.

    The digest is taken by reading, not through the mapping: what is only hashed then never counts as our memory.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_SIZE:
                raise DataError(f"{name}: larger than any ruleset ({size} bytes)", "compile it again")
            digest = _expected_digest(file.read(HEADER.size), name)
            file.seek(DIGESTED)
            found, piece = hashlib.sha256(), bytearray(PIECE)
            while count := file.readinto(piece):
                found.update(memoryview(piece)[:count])
            _compare(found.digest(), digest, name)
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}", "compile one with: geodrop compile") from error
    return _open(memoryview(data), digest, name)


def _expected_digest(header: bytes, name: str) -> bytes:
    if len(header) < HEADER.size or header[: len(MAGIC)] != MAGIC:
        raise DataError(f"{name}: not a geodrop ruleset", "compile one with: geodrop compile")
    _, version, digest, _ = HEADER.unpack(header)
    if version > VERSION:
        raise DataError(
            f"{name}: ruleset format {version}, this geodrop reads up to {VERSION}", "upgrade geodrop on this host"
        )
    if version != VERSION:
        raise DataError(f"{name}: ruleset format {version} is no longer read", "compile it again")
    return bytes(digest)


def _compare(found: bytes, expected: bytes, name: str) -> None:
    if found != expected:
        raise DataError(f"{name}: cut off or altered (its digest does not match)", "copy or compile it again")


def _open(view: memoryview, digest: bytes, name: str) -> Container:
    """The content is what some geodrop wrote; the bounds are checked all the same, since root reads this."""
    try:
        room = HEADER.unpack_from(view)[3]
        content = json.loads(bytes(view[HEADER.size : HEADER.size + room]))
        meta, table = content["meta"], content["sections"]
        sections = {}
        for section, (start, length) in table.items():
            if not HEADER.size <= start <= start + length <= len(view):
                raise ValueError(section)
            sections[section] = view[start : start + length].toreadonly()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{name}: damaged ruleset ({error})", "compile it again") from error
    return Container(digest.hex(), meta, sections)


def _json(meta: Mapping[str, Any], table: Mapping[str, tuple[int, int]]) -> bytes:
    content = {"meta": meta, "sections": table}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
