# SPDX-License-Identifier: Apache-2.0
r"""The ruleset file: a header, a JSON part and binary sections, all covered by one digest.

    offset  size
    0       8     magic, b"geodrop\0"
    8       4     the number of the format (formats.RULESET), uint32 little-endian
    12      32    the digest: SHA-256 of the JSON part
    44      4     length of the JSON part in bytes, uint32 little-endian
    48      32    the base: digest of the file that holds the sections left out here; zeroes if none are left out
    80      ...   the JSON part, UTF-8: {"meta": {...}, "sections": {name: [length, SHA-256 as hex]}}
    ...     ...   the sections sorted by name, each at a multiple of 64 from the start of the file, zero bytes between
                  them, nothing after the last

A file is read once, into sealed memory (ruleset.sealed), and checked and used only there. The digest does not cover the
number, so a newer file is recognised as newer, not as damaged. Format 2 had the same header: the two differ in the
JSON part, which is the matter of its reader (ruleset.schema).

A *delta file* leaves out each section that its base has under the same name with the same SHA-256. The base lies beside
it as BASE.ruleset and is not a delta file itself. In both cases the digest is that of the whole ruleset. So a change of
a few verdicts writes, hashes and syncs kilobytes, while the address space takes 25 MB.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import struct
import threading
import time
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from geodrop.errors import DataError, Excused, not_opened
from geodrop.formats import RULESET
from geodrop.inputs import open_regular
from geodrop.ruleset.fields import Bounds, Field, Invalid, anything, decode, mapping, record, text, whole
from geodrop.ruleset.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Content = bytes | memoryview

MAGIC = b"geodrop\0"
HEADER = struct.Struct("<8sI32sI32s")
NO_BASE = bytes(32)
ALIGNMENT = 64
MAX_SIZE = 1 << 30
PIECE = 1 << 17
DELTA = 4
"""A delta file is only written if it holds at most one byte in DELTA: each base is one more file that can be lost."""

MIN_AGE = 1.0
"""Seconds after which another write to a file is certain to change its timestamps."""

BOUNDS = Bounds(size=24 << 20, values=2_000_000)
"""Bounds of the JSON part. Two million values take 70 to 190 MB of memory; the bundled database makes 43 KB and 2,900.
"""

_opened: dict[tuple[int, ...], Container] = {}
"""Files that this process has read and verified, by their identity (see `_identity`), the one used last at the end.

Their pages are not touched here: each reader gets a mapping of its own.
"""
_opened_lock = threading.Lock()
"""Held for each use of `_opened`: a daemon opens rulesets in several threads."""

MAX_SECTIONS = 8_192
MAX_OPENED = 2
"""The ruleset in force, and its base if it is a delta file: together 26 MB with all the world's addresses."""
MAX_NAMES = 3
"""Most other files with what is remembered: where a ruleset comes from, and the copy in the state directory."""

NEXT_STEP = "copy or compile it again"


class Section(NamedTuple):
    """Length in bytes and SHA-256 as hex of a section, from the JSON part."""

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Container:
    """A verified file: `meta` decoded, `sections` as read-only views, `digest` as hex; `base` if it is a delta file.

    `number` is the number of its format. `memory` is the content of the file itself; None for a ruleset that never was
    a file.
    """

    digest: str
    meta: object
    sections: Mapping[str, memoryview]
    table: Mapping[str, Section]
    base: Container | None = None
    memory: Sealed | None = None
    number: int = RULESET.number

    @property
    def whole(self) -> Container:
        """The file that has every section, which a delta file may use as its base."""
        return self.base or self

    def memories(self) -> Iterator[Sealed]:
        """Yield the memory of the file, then of its base if it is a delta file; nothing if it never was a file."""
        yield from (one.memory for one in (self, self.base) if one and one.memory)

    def remapped(self) -> Container:
        """Return the same file through a mapping of its own: pages that are touched there are given back with it."""
        if self.memory is None:
            return self
        base = self.base.remapped() if self.base else None
        memory = self.memory.remapped()
        length: int = HEADER.unpack_from(memory.view)[3]
        sections = _sections(memory.view, self.table, base, length)
        return replace(self, sections=sections, base=base, memory=memory)


def pack(meta: Mapping[str, Any], sections: Mapping[str, Content], base: Container | None = None) -> bytes:
    """Return the bytes of a file. The same arguments give the same bytes: keys are sorted, nothing is added.

    Given a `base` (which must be whole), write a delta file if that saves enough (see DELTA).
    """
    table = {name: _described(name, sections[name], base) for name in sorted(sections)}
    content = {"meta": meta, "sections": table}
    written = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    own = _own(table, base)
    if base and DELTA * sum(table[name].length for name in own) > sum(section.length for section in table.values()):
        base, own = None, list(table)
    reference = bytes.fromhex(base.digest) if base else NO_BASE
    parts = [HEADER.pack(MAGIC, RULESET.number, hashlib.sha256(written).digest(), len(written), reference), written]
    end = HEADER.size + len(written)
    for name, start, stop in _places(table, own, len(written)):
        parts += [bytes(start - end), bytes(sections[name])]
        end = stop
    return b"".join(parts)


def digest_of(data: bytes) -> str:
    """Return the digest, as hex, that `pack` has put into a file."""
    digest: bytes = HEADER.unpack_from(data)[2]
    return digest.hex()


def meta_of(data: bytes) -> object:
    """Return the meta part of a file that `pack` has made, as a reader will get it. Raises Invalid."""
    length: int = HEADER.unpack_from(data)[3]
    return CONTENT(decode(data[HEADER.size : HEADER.size + length], BOUNDS))[0]


def unpack(data: Content, name: str, base: Container | None = None) -> Container:
    """Check a whole file in memory and open it.

    Raises DataError with `name` if the data is not exactly what `pack` wrote.
    """
    with io.BytesIO(data) as file:
        start = _Start.read(file, name)
        base = _fitting(start, base, name)
        _check_sections(file, start, base, name)
    return _open(memoryview(data), start, base)


def open_file(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Container:
    """Read a file and check it. Raises DataError. The base of a delta file lies beside it, or in `folder`."""
    return _open_path(path, lambda reference: _open_path(_base_path(path, folder, reference), _no_base))


def open_descriptors(descriptors: Sequence[int], name: str) -> Container:
    """Read and check an open file; a delta file's descriptor is followed by its base's. Raises DataError.

    The descriptors stay open.
    """
    if not descriptors:
        raise DataError(f"{name}: missing", "compile it again")
    own, *others = descriptors
    try:
        return _read(own, name, lambda _: _read(others[0], name, _no_base) if others else None)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}", "compile it again") from error


def written(path: str | os.PathLike[str], opened: Container) -> None:
    """Take note that this process has just written a file that it had checked: `open_file` need not hash it again."""
    with Excused(errno.ENOENT), open(open_regular(path), "rb") as file:
        _keep_open(_identity(file.fileno()), opened)


def base_path(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> str:
    """Return where `open_file` looks for the base of a delta file; the base need not exist.

    Returns "" if the file needs no base, is missing, no ruleset of a format that is read or no regular file. Raises
    OSError if it cannot be read.
    """
    header = b""
    with Excused(errno.ENOENT, errno.EINVAL), open(open_regular(path), "rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        return ""
    _, version, _, _, reference = HEADER.unpack(header)
    return "" if not RULESET.reads(version) or reference == NO_BASE else _base_path(path, folder, reference.hex())


def _open_path(path: str | os.PathLike[str], base: Callable[[str], Container | None]) -> Container:
    name = os.fspath(path)
    try:
        descriptor = open_regular(path)
        try:
            return _read(descriptor, name, base)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise not_opened(name, error, DataError, "compile one with: geodrop compile") from error


def _no_base(_: str) -> None:
    """Find no base: a base has none itself."""


def _base_path(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None, reference: str) -> str:
    name = f"{reference}.ruleset"
    beside = os.path.join(os.path.dirname(path), name)
    return beside if folder is None or os.path.exists(beside) else os.path.join(folder, name)


def _read(descriptor: int, name: str, base: Callable[[str], Container | None]) -> Container:
    """Read an open file, get the base that it needs from `base`, and check both. Raises DataError and OSError.

    Digests are computed with read(), not through a mapping, so pages that are only hashed never count as our memory. A
    file that this process has verified, and that has not changed since, is not read again.
    """
    identity = _identity(descriptor)
    if kept := _kept_open(identity):
        return kept.remapped()
    memory = Sealed.read(descriptor, MAX_SIZE)
    with open(memory.descriptor, "rb", buffering=0, closefd=False) as file:
        start = _Start.read(file, name)
        found = _fitting(start, base(start.base) if start.base else None, name)
        _check_sections(file, start, found, name)
    opened = _open(memory.view, start, found, memory)
    if _identity(descriptor) == identity:
        _remember(identity, opened)
    return opened


def _fitting(start: _Start, base: Container | None, name: str) -> Container | None:
    """Return the base of a delta file, None for a whole file. Raises DataError if it is not the base that it names."""
    if not start.base:
        return None
    if base is None or base.digest != start.base or base.base:
        raise DataError(f"{name}: the ruleset file it is based on is missing", "compile it again")
    return base


class _Start(NamedTuple):
    """Verified header and JSON part. `size` is that of the whole file; `base` is a digest, "" unless a delta file.

    `number` is the number of the format.
    """

    digest: str
    base: str
    length: int
    meta: object
    table: Mapping[str, Section]
    size: int
    number: int

    @classmethod
    def read(cls, file: IO[bytes], name: str) -> _Start:
        """Read and check the start of a file. Raises DataError.

        The content was written by some geodrop, and is checked nevertheless, because root reads it.
        """
        size = file.seek(0, os.SEEK_END)
        if size > MAX_SIZE:
            raise DataError(f"{name}: larger than any ruleset ({size:,} bytes)", NEXT_STEP)
        file.seek(0)
        number, digest, length, reference = _header(file.read(HEADER.size), name)
        if length > BOUNDS.size:
            raise DataError(f"{name}: {length:,} bytes of JSON, {BOUNDS.size:,} is the most", NEXT_STEP)
        content = file.read(length) if length <= size else b""
        if hashlib.sha256(content).digest() != digest:
            raise _altered(name)
        try:
            meta, table = CONTENT(decode(content, BOUNDS))
        except Invalid as invalid:
            raise DataError(f"{name}: damaged ruleset ({invalid})", "compile it again") from invalid
        base = "" if reference == NO_BASE else reference.hex()
        return cls(digest.hex(), base, length, meta, table, size, number)


def _header(header: bytes, name: str) -> tuple[int, bytes, int, bytes]:
    if len(header) < HEADER.size or header[: len(MAGIC)] != MAGIC:
        raise DataError(f"{name}: not a geodrop ruleset", "compile one with: geodrop compile")
    _, number, digest, length, reference = HEADER.unpack(header)
    if not RULESET.reads(number):
        raise RULESET.refusal(number, name, "compile it again")
    return number, digest, length, reference


def _altered(name: str) -> DataError:
    return DataError(f"{name}: cut off or altered (its digest does not match)", NEXT_STEP)


def _check_sections(file: IO[bytes], start: _Start, base: Container | None, name: str) -> None:
    """Check every byte after the JSON part. Raises DataError."""
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


def _open(view: memoryview, start: _Start, base: Container | None, memory: Sealed | None = None) -> Container:
    sections = _sections(view, start.table, base, start.length)
    return Container(start.digest, start.meta, sections, start.table, base, memory, start.number)


def _sections(
    view: memoryview, table: Mapping[str, Section], base: Container | None, length: int
) -> dict[str, memoryview]:
    """Return the sections of a file of this content and of its base; `length` is that of the JSON part."""
    sections = {name: base.sections[name] for name in table if base and name in base.table}
    for name, first, stop in _places(table, _own(table, base), length):
        sections[name] = view[first:stop].toreadonly()
    return sections


def _described(name: str, content: Content, base: Container | None) -> Section:
    # Comparing is quicker than hashing, and most sections of a base stay the same.
    if base and name in base.table and same_bytes(content, base.sections[name]):
        return base.table[name]
    return Section(len(content), hashlib.sha256(content).hexdigest())


def same_bytes(content: Content, view: memoryview) -> bool:
    """Return whether content and view are equal, without a copy.

    Comparing two views would make an object for each byte.
    """
    if content is view:
        return True
    if not isinstance(content, bytes):
        content = bytes(content)
    return len(content) == len(view) and content.startswith(view)


def _own(table: Mapping[str, Section], base: Container | None) -> list[str]:
    """Return the names of the sections that the file holds itself, sorted."""
    return [name for name in sorted(table) if base is None or base.table.get(name) != table[name]]


def _places(table: Mapping[str, Section], own: list[str], length: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and stop offset of the file's own sections; `length` is that of the JSON part."""
    stop = HEADER.size + length
    for name in own:
        start = -(-stop // ALIGNMENT) * ALIGNMENT
        stop = start + table[name].length
        yield name, start, stop


def _identity(descriptor: int) -> tuple[int, ...]:
    """Return a key that differs for another file, and for this file after a write."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _remember(identity: tuple[int, ...], opened: Container) -> None:
    # File times advance in ticks: a second write shortly after the first may leave the identity unchanged.
    if identity[-1] / 1e9 < time.time() - MIN_AGE:
        _keep_open(identity, opened)


def _keep_open(identity: tuple[int, ...], opened: Container) -> None:
    kept = opened.remapped()
    with _opened_lock:
        while len(_opened) > MAX_NAMES or len({_content_of(one) for one in (kept, *_opened.values())}) > MAX_OPENED:
            del _opened[next(iter(_opened))]
        _opened[identity] = kept


def _kept_open(identity: tuple[int, ...]) -> Container | None:
    """Return a file that is kept open, which is thereby the one used last; None if it is not."""
    with _opened_lock:
        if kept := _opened.pop(identity, None):
            _opened[identity] = kept
        return kept


def _content_of(one: Container) -> object:
    return one.memory.memory if one.memory else one.digest


def _content(meta: object, sections: Mapping[str, Section]) -> tuple[object, Mapping[str, Section]]:
    return meta, sections


def _section(value: object) -> Section:
    if type(value) is not list or len(value) != 2:
        raise Invalid("is no length and SHA-256")
    return Section(_LENGTH(value[0]), _SHA256(value[1]))


_LENGTH = whole(0, MAX_SIZE)
_SHA256 = text(64, re.compile("[0-9a-f]{64}"))
CONTENT: Field[tuple[object, Mapping[str, Section]]] = record(
    _content, meta=anything, sections=mapping(text(64, re.compile("[a-z0-9_/-]+")), _section, MAX_SECTIONS)
)
"""The JSON part; `meta` is decoded later, by ruleset.schema."""
