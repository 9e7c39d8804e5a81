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
from typing import TYPE_CHECKING, Any, Final

from maxminddb.decoder import Decoder
from maxminddb.errors import InvalidDatabaseError

from geodrop.errors import DataError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Container, Iterator

    Buffer = bytes | mmap.mmap

    Reference = bytes | int
    """A value that records share, as the pointer that is written there, or one in place, as its offset in the file."""

POINTER, STRING, MAP, ARRAY, BOOLEAN = 1, 2, 7, 11, 14
SIZED = frozenset({2, 3, 4, 5, 6, 8, 9, 10, 15})  # types whose size is the number of bytes that follow
MAX_VALUES = 1 << 16  # in one record, as maxminddb allows
DEEPEST = 64  # values inside each other that are read one by one
UNREADABLE = "(cannot be read)"
"""Stands for what cannot be read of a record whose other parts can."""


class _Everything:
    """Every field is wanted."""

    def __contains__(self, _: object) -> bool:
        return True


EVERYTHING: Final = _Everything()

# What a decoder that meets nonsense may raise; RecursionError is a RuntimeError, as is InvalidDatabaseError.
_FAILURES = (InvalidDatabaseError, RecursionError, ValueError, TypeError, IndexError, OverflowError, struct.error)


def damaged(name: str, what: str) -> DataError:
    """The failure of everything that reads a database."""
    return DataError(f"{name}: damaged database: {what}", "fetch it again and compare its checksum with the vendor's")


class DataSection:
    """A data section that starts at byte `start` of the file; `name` is how messages call the file."""

    def __init__(self, data: Buffer, start: int, name: str) -> None:
        self._data = data
        self._start = start
        self._name = name
        self._decoder = Decoder(data, start)
        self._keys: dict[bytes, str] = {}

    def decode(self, value: Reference) -> Any:  # noqa: ANN401 - whatever the file holds
        """The value referred to, whole; raises DataError."""
        try:
            offset = value if isinstance(value, int) else self._target(value)
            decoded, end = self._decoder.decode(offset)
            _check_end(end, self._data)
        except _FAILURES as failure:
            raise damaged(self._name, f"the value {_where(value)} cannot be read ({failure})") from failure
        return decoded

    def readable(self, value: Reference) -> Any:  # noqa: ANN401 - whatever the file holds
        """The value referred to as far as it can be read, with UNREADABLE for every part that cannot."""
        try:
            return self.decode(value)
        except DataError:
            return self._piece(value, [MAX_VALUES])

    def _piece(self, value: Reference, left: list[int], depth: int = 0) -> Any:  # noqa: ANN401
        """One part; `left` bounds the parts of all, since parts may be shared, and lead back to what holds them."""
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
        """The wanted fields of a map with references to their values, in file order; None for no map.

        Raises DataError.
        """
        try:
            kind, size, start = self._followed(value)
            return tuple(self._fields(start, _bounded(size), wanted)) if kind == MAP else None
        except _FAILURES as failure:
            raise damaged(self._name, f"the record {_where(value)} cannot be read ({failure})") from failure

    def items(self, value: Reference) -> tuple[Reference, ...] | None:
        """References to the values of an array; None for none. Raises DataError."""
        try:
            kind, size, start = self._followed(value)
            return tuple(self._items(start, _bounded(size))) if kind == ARRAY else None
        except _FAILURES as failure:
            raise damaged(self._name, f"the list {_where(value)} cannot be read ({failure})") from failure

    def _followed(self, value: Reference) -> tuple[int, int, int]:
        """Type, size and start of what is referred to, behind a pointer too."""
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
        # This runs for every record of a file of cities, hence no call for a pointer, which most keys and values are.
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
        """A string that stands at an offset itself, and where the next value starts."""
        kind, size, start = self._control(offset)
        if kind != STRING:
            raise InvalidDatabaseError("a key that is not a string")
        return self._data[start : start + size].decode(), start + size

    def _target(self, pointer: bytes) -> int:
        """Where a pointer leads; bytes after it do not matter. Never to another pointer, by the specification."""
        width = (pointer[0] >> 3 & 3) + 1
        number = int.from_bytes(pointer[1 : 1 + width], "big")
        if width < 4:
            # The low bits of the control byte lead, and each width starts where the one before ends.
            number += ((pointer[0] & 7) << 8 * width) + (0, 2_048, 526_336)[width - 1]
        target = self._start + number
        if self._data[target] >> 5 == POINTER:
            raise InvalidDatabaseError("a pointer to a pointer")
        return target

    def _control(self, offset: int) -> tuple[int, int, int]:
        """Type, size, and the start of what follows the control bytes, of a value that is no pointer."""
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
        """Where the value after the one at an offset starts; pointers are passed over, not followed."""
        data = self._data
        left, steps = 1, 0
        while left:
            left -= 1
            steps += 1
            control = data[offset]
            if control >> 5 == POINTER:
                offset += 2 + (control >> 3 & 3)
                continue
            if control & 31 < 29 and 2 <= control >> 5 <= 6:  # most of what is skipped: short strings and numbers
                offset += 1 + (control & 31)
                continue
            kind, size, offset = self._control(offset)
            if kind in SIZED:
                offset += size
            elif kind in (MAP, ARRAY):
                left += size * (2 if kind == MAP else 1)
                _bounded(steps + left)
            elif kind != BOOLEAN:
                raise InvalidDatabaseError(f"type {kind} means nothing")
        return offset


def _where(value: Reference) -> str:
    return f"at byte {value}" if isinstance(value, int) else f"behind the pointer {value.hex()}"


def _bounded(count: int) -> int:
    if count > MAX_VALUES:
        raise InvalidDatabaseError("a record of too many values")
    return count


def _check_end(end: int, data: Buffer) -> None:
    # maxminddb takes a number that is cut off at the end of the file for a shorter one.
    if end > len(data):
        raise InvalidDatabaseError("it goes on after the end of the file")
