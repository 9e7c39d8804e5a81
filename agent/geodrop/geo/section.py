# SPDX-License-Identifier: Apache-2.0
"""Read the data section of a MaxMind DB file: typed values, one at a time and only those that are needed.

Values are decoded by maxminddb's pure-Python decoder, which bounds depth, number of values and size of each. This
module itself reads only the outline of a record: which fields it has and where their values are. A file of cities has
hundreds of thousands of records that point to a few thousand shared values; with their location known, each value is
decoded once (GeoLite2 City: 2 s instead of 40 s).

Layout: MaxMind DB File Format Specification 2.0, "Data Section". A value starts with a control byte: three bits of
type, then five of size. All numbers are big-endian, offsets count from the start of the file.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from maxminddb.decoder import Decoder
from maxminddb.errors import InvalidDatabaseError

from geodrop.errors import DataError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Container, Iterator

    Buffer = bytes | mmap.mmap

    Reference = bytes | int
    """A shared value, as the bytes of the pointer to it, or an inline value, as its offset in the file."""

POINTER, STRING, MAP, ARRAY, BOOLEAN = 1, 2, 7, 11, 14
SIZED = frozenset({2, 3, 4, 5, 6, 8, 9, 10, 15})  # types whose size is the number of bytes that follow
MAX_VALUES = 1 << 16  # in one record, as maxminddb allows
DEEPEST = 64  # the deepest nesting of values that are read one by one
UNREADABLE = "(cannot be read)"
"""Stands for an unreadable part of a record that can otherwise be read."""


class _Everything:
    """A container that holds every field name."""

    def __contains__(self, _: object) -> bool:
        return True


EVERYTHING: Final = _Everything()

# Exceptions that a decoder may raise for invalid data; RecursionError is a RuntimeError, as is InvalidDatabaseError.
_FAILURES = (InvalidDatabaseError, RecursionError, ValueError, TypeError, IndexError, OverflowError, struct.error)


def damaged(name: str, what: str) -> DataError:
    """Return the error for a damaged database; `what` is the damage, `name` the file's name."""
    return DataError(f"{name}: damaged database: {what}", "fetch it again and compare its checksum with the vendor's")


class DataSection:
    """A data section that starts at byte `start` of the file; `name` is the file's name for messages."""

    def __init__(self, data: Buffer, start: int, name: str) -> None:
        self._data = data
        self._start = start
        self._name = name
        self._decoder = Decoder(data, start)
        self._keys: dict[bytes, str] = {}

    def decode(self, value: Reference) -> Any:  # noqa: ANN401 - a value of any type
        """Return the value referred to. Raises DataError if any part of it cannot be read."""
        try:
            offset = value if isinstance(value, int) else self._target(value)
            decoded, end = self._decoder.decode(offset)
            _check_end(end, self._data)
        except _FAILURES as failure:
            raise damaged(self._name, f"the value {_where(value)} cannot be read ({failure})") from failure
        return decoded

    def readable(self, value: Reference) -> Any:  # noqa: ANN401 - a value of any type
        """Return the value referred to, with UNREADABLE for every part that cannot be read."""
        try:
            return self.decode(value)
        except DataError:
            return self._piece(value, [MAX_VALUES])

    def _piece(self, value: Reference, left: list[int], depth: int = 0) -> Any:  # noqa: ANN401
        """Return one part of a value.

        `left` bounds the number of all parts, because parts may be shared, and may lead back to what holds them.
        """
        left[0] -= 1
        try:
            if left[0] < 0 or depth > DEEPEST:
                return UNREADABLE
            if (fields := self.fields(value, EVERYTHING)) is not None:
                return {field: self._piece(inner, left, depth + 1) for field, inner in fields}
            if (items := self.items(value)) is not None:
                return [self._piece(inner, left, depth + 1) for inner in items]
            return self.decode(value)
        except DataError:
            return UNREADABLE

    def fields(self, value: Reference, wanted: Container[str]) -> tuple[tuple[str, Reference], ...] | None:
        """Return the wanted fields of a map with references to their values, in file order; None if it is no map.

        Raises DataError.
        """
        try:
            kind, size, start = self._followed(value)
            return tuple(self._fields(start, _bounded(size), wanted)) if kind == MAP else None
        except _FAILURES as failure:
            raise damaged(self._name, f"the record {_where(value)} cannot be read ({failure})") from failure

    def items(self, value: Reference) -> tuple[Reference, ...] | None:
        """Return references to the values of an array; None if it is no array. Raises DataError."""
        try:
            kind, size, start = self._followed(value)
            return tuple(self._items(start, _bounded(size))) if kind == ARRAY else None
        except _FAILURES as failure:
            raise damaged(self._name, f"the list {_where(value)} cannot be read ({failure})") from failure

    def _followed(self, value: Reference) -> tuple[int, int, int]:
        """Return type, size and start of the value referred to; a pointer is followed."""
        if not isinstance(value, int):
            value = self._target(value)
        elif self._data[value] >> 5 == POINTER:
            value = self._target(self._data[value : value + 5])
        return self._control(value)

    def _items(self, offset: int, size: int) -> Iterator[Reference]:
        for _ in range(size):
            yield offset
            offset = self._skip(offset)
        _check_end(offset, self._data)

    def _fields(self, offset: int, size: int, wanted: Container[str]) -> Iterator[tuple[str, Reference]]:
        # This runs for every record of a file of cities. Most keys and values are pointers, so those need no call.
        data, keys = self._data, self._keys
        for _ in range(size):
            control = data[offset]
            if control >> 5 == POINTER:
                end = offset + 2 + (control >> 3 & 3)
                pointer = data[offset:end]
                key = keys.get(pointer)
                if key is None:
                    key, _ = self._string(self._target(pointer))
                    keys[pointer] = key
            else:
                key, end = self._string(offset)
            offset = end
            control = data[offset]
            if control >> 5 == POINTER:
                end = offset + 2 + (control >> 3 & 3)
                if key in wanted:
                    yield key, data[offset:end]
                offset = end
            else:
                if key in wanted:
                    yield key, offset
                offset = self._skip(offset)
        _check_end(offset, data)

    def _string(self, offset: int) -> tuple[str, int]:
        """Return the inline string at an offset, and where the next value starts."""
        kind, size, start = self._control(offset)
        if kind != STRING:
            raise InvalidDatabaseError("a key that is not a string")
        return self._data[start : start + size].decode(), start + size

    def _target(self, pointer: bytes) -> int:
        """Return the offset that a pointer leads to; bytes after the pointer are ignored.

        By the specification it may not lead to another pointer.
        """
        width = (pointer[0] >> 3 & 3) + 1
        number = int.from_bytes(pointer[1 : 1 + width], "big")
        if width < 4:
            # The low bits of the control byte come first, and each width starts counting where the previous one ends.
            number += ((pointer[0] & 7) << 8 * width) + (0, 2_048, 526_336)[width - 1]
        target = self._start + number
        if self._data[target] >> 5 == POINTER:
            raise InvalidDatabaseError("a pointer to a pointer")
        return target

    def _control(self, offset: int) -> tuple[int, int, int]:
        """Return type, size, and the offset after the control bytes, of a value that is no pointer."""
        control = self._data[offset]
        kind, size, offset = control >> 5, control & 31, offset + 1
        if kind == 0:
            kind, offset = 7 + self._data[offset], offset + 1
        if size >= 29:
            width = size - 28
            size = (29, 285, 65_821)[width - 1] + int.from_bytes(self._data[offset : offset + width], "big")
            offset += width
        return kind, size, offset

    def _skip(self, offset: int) -> int:
        """Return the offset of the next value after the one at `offset`; pointers are skipped, not followed."""
        data = self._data
        left, steps = 1, 0
        while left:
            left -= 1
            steps += 1
            control = data[offset]
            if control >> 5 == POINTER:
                offset += 2 + (control >> 3 & 3)
                continue
            if control & 31 < 29 and 2 <= control >> 5 <= 6:  # the most frequent case: short strings and numbers
                offset += 1 + (control & 31)
                continue
            kind, size, offset = self._control(offset)
            if kind in SIZED:
                offset += size
            elif kind in (MAP, ARRAY):
                left += size * (2 if kind == MAP else 1)
                _bounded(steps + left)
            elif kind != BOOLEAN:
                raise InvalidDatabaseError(f"unknown type {kind}")
        return offset


def _where(value: Reference) -> str:
    return f"at byte {value}" if isinstance(value, int) else f"behind the pointer {value.hex()}"


def _bounded(count: int) -> int:
    if count > MAX_VALUES:
        raise InvalidDatabaseError("a record of too many values")
    return count


def _check_end(end: int, data: Buffer) -> None:
    # maxminddb reads a number that is truncated at the end of the file as a shorter number.
    if end > len(data):
        raise InvalidDatabaseError("it goes on after the end of the file")
