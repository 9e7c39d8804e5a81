r"""The ruleset file: a header, a JSON part and binary sections, all of it under one digest.

    offset  size
    0       8     magic, b"geodrop\0"
    8       4     format version, uint32 little-endian
    12      32    the digest: SHA-256 of the JSON part
    44      4     length of the JSON part in bytes, uint32 little-endian
    48      32    the base: digest of the file that has what is left out here; zeroes where nothing is
    80      ...   the JSON part, UTF-8: {"meta": {...}, "sections": {name: [length, SHA-256 as hex]}}
    ...     ...   the sections in order of their names, each at a multiple of 64 from the start of the file, zero bytes
                  between, nothing behind the last

Sections are read in place from a mapped file. The version stands outside the digest so that a newer file is
recognised as newer, not as damaged.

A *thin* file leaves out each section that its base has under the same name with the same SHA-256. The base lies beside
it as BASE.ruleset and is not thin. The digest is that of the whole ruleset either way. So a change of a few verdicts is
written, hashed and synced by the kilobyte, where the address space takes 25 MB.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from geodrop.errors import DataError
from geodrop.inputs import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Content = bytes | memoryview

MAGIC = b"geodrop\0"
VERSION = 2
HEADER = struct.Struct("<8sI32sI32s")
NO_BASE = bytes(32)
ALIGNMENT = 64
MAX_SIZE = 1 << 30
PIECE = 1 << 17
THIN = 4
"""A file is only made thin if that leaves out all but one in so many bytes: each base is one more file to lose."""

SETTLED = 1.0
"""Seconds after which a file that is written to again is sure to show another time."""

_verified: dict[tuple[int, ...], None] = {}
"""Files whose sections this process has found right, by what tells them from every other; see `_identity`."""

MAX_VERIFIED = 16


class Section(NamedTuple):
    """What the JSON part says of a section."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Container:
    """A verified file: `meta` decoded, `sections` as read-only views, `digest` as hex; `base` is that of a thin one."""

    digest: str
    meta: Mapping[str, Any]
    sections: Mapping[str, memoryview]
    table: Mapping[str, Section]
    base: Container | None = None

    @property
    def whole(self) -> Container:
        """The file that has every section, which another may have for its base."""
        return self.base or self


def pack(meta: Mapping[str, Any], sections: Mapping[str, Content], base: Container | None = None) -> bytes:
    """Lay out a file. The same arguments give the same bytes: keys are sorted, nothing is added.

    Given a `base` (which must be whole) the file is thin, if that is worth it.
    """
    table = {name: _described(name, sections[name], base) for name in sorted(sections)}
    content = {"meta": meta, "sections": table}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    own = _own(table, base)
    if base and THIN * sum(table[name].length for name in own) > sum(section.length for section in table.values()):
        base, own = None, list(table)
    reference = bytes.fromhex(base.digest) if base else NO_BASE
    parts = [HEADER.pack(MAGIC, VERSION, hashlib.sha256(text).digest(), len(text), reference), text]
    end = HEADER.size + len(text)
    for name, start, stop in _places(table, own, len(text)):
        parts += [bytes(start - end), bytes(sections[name])]
        end = stop
    return b"".join(parts)


def digest_of(data: bytes) -> str:
    """The digest that `pack` has put into a file, as hex."""
    digest: bytes = HEADER.unpack_from(data)[2]
    return digest.hex()


def unpack(data: Content, name: str, base: Container | None = None) -> Container:
    """Check a whole file in memory and open it; raises DataError, naming it, if it is not exactly what `pack` wrote."""
    with io.BytesIO(data) as file:
        start = _Start.read(file, name)
        base = _fitting(start, base, name)
        _check_sections(file, start, base, name)
    return _open(memoryview(data), start, base)


def open_file(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Container:
    """Check a file and map it; raises DataError. The base of a thin one is beside it, or else in `folder`."""
    name = os.fspath(path)
    base_name = base_path(path, folder)
    try:
        base = None
        if base_name:
            with open(open_regular(base_name), "rb", buffering=0) as base_file:
                base = _map(base_file, base_name, None)
        with open(open_regular(path), "rb", buffering=0) as file:
            return _map(file, name, base)
    except OSError as error:
        missing = error.filename or name
        raise DataError(f"{missing}: {error.strerror}", "compile one with: geodrop compile") from error


def open_descriptors(descriptors: Sequence[int], name: str) -> Container:
    """The same for one that is open, followed by its base if it is thin; they stay open."""
    base = None
    try:
        for descriptor in reversed(descriptors):
            with open(descriptor, "rb", buffering=0, closefd=False) as file:
                base = _map(file, name, base)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}", "compile it again") from error
    if base is None:
        raise DataError(f"{name}: missing", "compile it again")
    return base


def base_path(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> str:
    """Where the base of a thin file is, which need not exist; "" if it needs none, or is no ruleset. As `open_file`."""
    try:
        with open(open_regular(path), "rb") as file:
            header = file.read(HEADER.size)
    except OSError:
        return ""
    reference = HEADER.unpack(header)[4] if len(header) == HEADER.size else NO_BASE
    if reference == NO_BASE:
        return ""
    name = f"{reference.hex()}.ruleset"
    beside = os.path.join(os.path.dirname(path), name)
    return beside if folder is None or os.path.exists(beside) else os.path.join(folder, name)


def _map(file: IO[bytes], name: str, base: Container | None) -> Container:
    """Check and map an open file.

    Digests are taken by reading, not through the mapping: what is only hashed then never counts as our memory. A file
    that this process has found right, and that nobody has touched since, is not read again.
    """
    start = _Start.read(file, name)
    base = _fitting(start, base, name)
    identity = _identity(file)
    if identity not in _verified:
        _check_sections(file, start, base, name)
        _remember(identity)
    return _open(memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)), start, base)


def _fitting(start: _Start, base: Container | None, name: str) -> Container | None:
    """The base, for a thin file; raises DataError if it is not the one that it needs."""
    if not start.base:
        return None
    if base is None or base.digest != start.base or base.base:
        raise DataError(f"{name}: what it is based on is missing", "compile it again")
    return base


class _Start(NamedTuple):
    """Header and JSON part, verified; `size` is that of the whole file, `base` is "" where it is not thin."""

    digest: str
    base: str
    length: int
    meta: Mapping[str, Any]
    table: Mapping[str, Section]
    size: int

    @classmethod
    def read(cls, file: IO[bytes], name: str) -> _Start:
        """Raises DataError. What is inside is what some geodrop wrote; it is checked all the same: root reads this."""
        size = file.seek(0, os.SEEK_END)
        if size > MAX_SIZE:
            raise DataError(f"{name}: larger than any ruleset ({size} bytes)", "compile it again")
        file.seek(0)
        digest, length, reference = _header(file.read(HEADER.size), name)
        text = file.read(length) if length <= size else b""
        if hashlib.sha256(text).digest() != digest:
            raise _altered(name)
        try:
            content = json.loads(text)
            table = {section: Section(*described) for section, described in content["sections"].items()}
            if not all(0 <= one.length <= MAX_SIZE for one in table.values()):
                raise ValueError("a section's length")
            meta = content["meta"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{name}: damaged ruleset ({error})", "compile it again") from error
        base = "" if reference == NO_BASE else reference.hex()
        return cls(digest.hex(), base, length, meta, table, size)


def _header(header: bytes, name: str) -> tuple[bytes, int, bytes]:
    if len(header) < HEADER.size or header[: len(MAGIC)] != MAGIC:
        raise DataError(f"{name}: not a geodrop ruleset", "compile one with: geodrop compile")
    _, version, digest, length, reference = HEADER.unpack(header)
    if version > VERSION:
        raise DataError(
            f"{name}: ruleset format {version}, this geodrop reads up to {VERSION}", "upgrade geodrop on this host"
        )
    if version != VERSION:
        raise DataError(f"{name}: ruleset format {version} is no longer read", "compile it again")
    return digest, length, reference


def _altered(name: str) -> DataError:
    return DataError(f"{name}: cut off or altered (its digest does not match)", "copy or compile it again")


def _check_sections(file: IO[bytes], start: _Start, base: Container | None, name: str) -> None:
    """Every byte behind the JSON part; raises DataError."""
    end = file.seek(HEADER.size + start.length)
    piece = bytearray(PIECE)
    for section, first, stop in _places(start.table, _own(start.table, base), start.length):
        if any(file.read(first - end)):
            raise _altered(name)
        found, left = hashlib.sha256(), stop - first
        while left and (count := file.readinto(memoryview(piece)[:left])):  # type: ignore[attr-defined]
            found.update(memoryview(piece)[:count])
            left -= count
        if left or found.hexdigest() != start.table[section].sha256:
            raise _altered(name)
        end = stop
    if end != start.size:
        raise _altered(name)


def _open(view: memoryview, start: _Start, base: Container | None) -> Container:
    sections = {name: base.sections[name] for name in start.table if base and name in base.table}
    for name, first, stop in _places(start.table, _own(start.table, base), start.length):
        sections[name] = view[first:stop].toreadonly()
    return Container(start.digest, start.meta, sections, start.table, base)


def _described(name: str, content: Content, base: Container | None) -> Section:
    """Comparing is quicker than hashing, and most of what a base has stays."""
    if base and name in base.table and same_bytes(content, base.sections[name]):
        return base.table[name]
    return Section(len(content), hashlib.sha256(content).hexdigest())


def same_bytes(content: Content, view: memoryview) -> bool:
    """Whether they are equal, without a copy and without an object for each byte, as comparing views would make."""
    if content is view:
        return True
    if not isinstance(content, bytes):
        content = bytes(content)
    return len(content) == len(view) and content.startswith(view)


def _own(table: Mapping[str, Section], base: Container | None) -> list[str]:
    """The sections that a file has itself, in order."""
    return [name for name in sorted(table) if base is None or base.table.get(name) != table[name]]


def _places(table: Mapping[str, Section], own: list[str], length: int) -> Iterator[tuple[str, int, int]]:
    """Where its own sections start and stop in a file; `length` is that of the JSON part."""
    stop = HEADER.size + length
    for name in own:
        start = -(-stop // ALIGNMENT) * ALIGNMENT
        stop = start + table[name].length
        yield name, start, stop


def _identity(file: IO[bytes]) -> tuple[int, ...]:
    """What differs for another file, and for this one once it was written to."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _remember(identity: tuple[int, ...]) -> None:
    # Time moves in ticks: of a file that has just been written the next write may leave all of this the same.
    if identity[-1] / 1e9 < time.time() - SETTLED:
        while len(_verified) >= MAX_VERIFIED:
            del _verified[next(iter(_verified))]
        _verified[identity] = None
