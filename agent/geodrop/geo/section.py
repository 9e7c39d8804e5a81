"""The data section of a MaxMind DB file: typed values, read one at a time and only as far as they are needed.

Values are decoded by maxminddb's pure-Python decoder, which bounds depth, number of values and size of each. What is
read here besides is the outline of a record: which fields it has and where their values lie. A file of cities holds
hundreds of thousands of records that point at a few thousand shared values; knowing where a value lies is enough to
decode it once (GeoLite2 City: 2 s instead of 40 s).

Layout: MaxMind DB File Format Specification 2.0, "Data Section". A value starts with a control byte: three bits of
type, then five of size. All numbers are big-endian, offsets count from the start of the file.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from maxminddb.decoder import Decoder
from maxminddb.errors import InvalidDatabaseError

from geodrop.errors import DataError

if TYPE_CHECKING:
    import mmap

    Buffer = bytes | mmap.mmap

POINTER, STRING, MAP, ARRAY, BOOLEAN = 1, 2, 7, 11, 14
SIZED = frozenset({2, 3, 4, 5, 6, 8, 9, 10, 15})  # types whose size is the number of bytes that follow
MAX_STEPS = 1 << 16  # values in one record, as maxminddb allows

# What a decoder that meets nonsense may raise; RecursionError is a RuntimeError, as is InvalidDatabaseError.
_FAILURES = (InvalidDatabaseError, RecursionError, ValueError, TypeError, IndexError, OverflowError, struct.error)


def damaged(name: str, what: str) -> DataError:
    """The failure of everything that reads a database."""
    return DataError(f"{name}: damaged database: {what}", "fetch it again and compare its checksum with the vendor's")


class Section:
    """A data section that starts at byte `start` of the file; `name` is how messages call the file."""

    def __init__(self, data: Buffer, start: int, name: str) -> None:
        self._data = data
        self._start = start
        self._name = name
        self._decoder = Decoder(data, start)
        self._keys: dict[int, str] = {}

    def decode(self, offset: int) -> Any:  # noqa: ANN401 - whatever the file holds
        """The value at an offset, whole; raises DataError."""
        try:
            value, _ = self._decoder.decode(offset)
        except _FAILURES as failure:
            raise damaged(self._name, f"the value at byte {offset} cannot be read ({failure})") from failure
        return value

    def fields(self, offset: int, wanted: frozenset[str]) -> tuple[tuple[str, int], ...] | None:
        """The wanted fields of the map at an offset and where their values lie, in file order; None if it is no map.

        Fields that share a value give the same offset. Raises DataError.
        """
        try:
            return self._fields(offset, wanted)
        except _FAILURES as failure:
            raise damaged(self._name, f"the record at byte {offset} cannot be read ({failure})") from failure

    def _fields(self, offset: int, wanted: frozenset[str]) -> tuple[tuple[str, int], ...] | None:
        offset, _ = self._resolve(offset)
        kind, size, offset = self._control(offset)
        if kind != MAP:
            return None
        found = []
        for _ in range(self._bounded(size)):
            key, offset = self._key(offset)
            if key in wanted:
                value, after = self._resolve(offset)
                found.append((key, value))
                offset = after or self._skip(offset)
            else:
                offset = self._skip(offset)
        return tuple(found)

    def _key(self, offset: int) -> tuple[str, int]:
        """The string at an offset, and where the next value starts. Shared keys are decoded once."""
        at, after = self._resolve(offset)
        if after and (known := self._keys.get(at)) is not None:
            return known, after
        kind, size, start = self._control(at)
        if kind != STRING:
            raise InvalidDatabaseError("a key is not a string")
        key = bytes(self._data[start : start + size]).decode()
        if after:
            self._keys[at] = key
        return key, after or start + size

    def _resolve(self, offset: int) -> tuple[int, int]:
        """Where the value at an offset lies, and, if that is elsewhere, the end of the pointer (else 0)."""
        control = self._data[offset]
        if control >> 5 != POINTER:
            return offset, 0
        width = (control >> 3 & 3) + 1
        low = int.from_bytes(self._data[offset + 1 : offset + 1 + width], "big")
        # The three low bits of the control byte lead the first three widths, which start where the one before ends.
        high, bias = ((control & 7) << 8 * width, (0, 2_048, 526_336)[width - 1]) if width < 4 else (0, 0)
        target = self._start + high + low + bias
        if self._data[target] >> 5 == POINTER:
            raise InvalidDatabaseError("a pointer leads to a pointer")
        return target, offset + 1 + width

    def _control(self, offset: int) -> tuple[int, int, int]:
        """Type, size and the start of what follows, of a value that is no pointer."""
        control = self._data[offset]
        kind, size, offset = control >> 5, control & 31, offset + 1
        if kind == 0:
            kind, offset = 7 + self._data[offset], offset + 1
        if size >= 29:
            more = size - 28
            size = (29, 285, 65_821)[more - 1] + int.from_bytes(self._data[offset : offset + more], "big")
            offset += more
        return kind, size, offset

    def _skip(self, offset: int) -> int:
        """Where the value after the one at an offset starts; pointers are passed over, not followed."""
        left = 1
        steps = 0
        while left:
            left -= 1
            steps = self._bounded(steps + 1)
            control = self._data[offset]
            if control >> 5 == POINTER:
                offset += 2 + (control >> 3 & 3)
                continue
            kind, size, offset = self._control(offset)
            if kind in SIZED:
                offset += size
            elif kind in (MAP, ARRAY):
                left += size * (2 if kind == MAP else 1)
            elif kind != BOOLEAN:
                raise InvalidDatabaseError(f"type {kind} means nothing")
        return offset

    @staticmethod
    def _bounded(count: int) -> int:
        if count > MAX_STEPS:
            raise InvalidDatabaseError("a record of too many values")
        return count
