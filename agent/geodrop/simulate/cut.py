# SPDX-License-Identifier: Apache-2.0
"""Find source address and hour in thousands of lines at once, as columns of arrays.

It reads what almost all lines of logs are: an address, perhaps with the name of a virtual host in front, and the time
in brackets; or an address alone. Any other line is left for lines.LineReader, so nothing depends on what is read here
except the speed: both find the same in the same line.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from geodrop.simulate.lines import packed

if TYPE_CHECKING:
    import numpy.typing as npt

    from geodrop.simulate.lines import Hours

    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]
    Bytes = npt.NDArray[np.uint8]

WIDTH = 64
"""Bytes of a line that are looked at for an address and the bracket in front of the time."""
IPV4_WIDTH = 16
"""Bytes of the longest IPv4 address and of what ends it."""
STAMP = 14
"""Length of 09/Jul/2024:13."""
PADDING = bytes(2 * WIDTH)
MOST_STAMPS = 64
"""Hours in one block that are told apart here; lines of a well mixed log are left for the slower reader."""

NEWLINE, RETURN, SPACE, HASH, COMMA, DOT, ZERO, COLON, BRACKET, BRACE = b"\n\r #,.0:[{"
_OF_ADDRESS = np.isin(np.arange(256), list(b"0123456789abcdefABCDEF:."))
_COLUMNS = np.arange(WIDTH, dtype=np.uint8)
_INSIDE = (np.arange(IPV4_WIDTH + 1)[:, None] > np.arange(IPV4_WIDTH)).view(np.complex128)[:, 0]
"""By the length of a first word, which bytes of a row are in it: one element of 16 bytes, which numpy takes whole."""
_WITHOUT_LAST = np.frombuffer(bytes([255] * 7 + [0]), np.uint64)[0]


class CutLines(NamedTuple):
    """What was read of a block.

    `ipv4` and `ipv4_hours` have an element for each line with an IPv4 source. `others` counts the requests of each
    other packed source and hour. `unread` has the numbers in the block, from 0, and the texts of all other lines.
    """

    lines: int
    ipv4: npt.NDArray[np.uint32]
    ipv4_hours: Ints
    others: Counter[tuple[bytes, int]]
    unread: list[tuple[int, bytes]]


class _Found(NamedTuple):
    """What was read from some starts on; `kind` is 4, 6 or 0 for nothing, `length` that of the first word."""

    rows: Bytes
    length: Ints
    kind: Bytes
    address: npt.NDArray[np.uint32]
    hour: Ints


def cut(block: bytes, hours: Hours) -> CutLines:
    """Read a block of whole lines, which ends with a newline."""
    text = np.frombuffer(block + PADDING, np.uint8)
    ends = np.flatnonzero(text[: len(block)] == NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    found = _read(text, starts, ends, hours)
    kind, address, hour, length = found.kind, found.address, found.hour, found.length
    words = starts.copy()
    left = np.flatnonzero(kind == 0)
    named = left[_are_names(found.rows[left], length[left])]
    if len(named):
        words[named] = starts[named] + length[named] + 1
        behind = _read(text, words[named], ends[named], hours)
        # A name and nothing but an address is no line of a known form.
        kind[named] = np.where(behind.hour > 0, behind.kind, 0)
        address[named], hour[named], length[named] = behind.address, behind.hour, behind.length
    ipv4 = kind == 4
    others = Counter[tuple[bytes, int]]()
    for line in np.flatnonzero(kind == 6).tolist():
        others[block[words[line] : words[line] + length[line]], int(hour[line])] += 1
    sources = {word: packed(word) for word, _ in others}
    wrong = {word for word, source in sources.items() if source is None}
    for line in np.flatnonzero(kind == 6).tolist() if wrong else ():
        if block[words[line] : words[line] + length[line]] in wrong:
            kind[line] = 0
    known = Counter[tuple[bytes, int]]()
    for (word, number), count in others.items():
        if source := sources[word]:
            known[source, number] += count
    unread = [(line, block[starts[line] : ends[line]]) for line in np.flatnonzero(kind == 0).tolist()]
    return CutLines(len(ends), address[ipv4], hour[ipv4], known, unread)


def _read(text: Bytes, starts: Ints, ends: Ints, hours: Hours) -> _Found:
    rows = sliding_window_view(text, WIDTH)[starts]
    length = (rows <= SPACE).argmax(1)
    address, is_ipv4 = _ipv4(np.ascontiguousarray(rows[:, :IPV4_WIDTH]), length)
    kind = np.where(is_ipv4, np.uint8(4), np.uint8(0))
    rest = np.flatnonzero(~is_ipv4)
    kind[rest[_may_be_ipv6(rows[rest], length[rest])]] = 6
    at = starts + length
    alone = (at == ends) | ((text[at] == RETURN) & (at + 1 == ends))
    bracket = (rows == BRACKET).argmax(1)
    hour = _hours(text, np.where(bracket > length, starts + bracket + 1, len(text)), ends, hours)
    timed = hour > 0
    kind[~(alone | (timed & (text[at] == SPACE)))] = 0
    hour[alone] = 0
    return _Found(rows, length, kind, address, hour)


def _ipv4(rows: Bytes, length: Ints) -> tuple[npt.NDArray[np.uint32], Bools]:
    """Return the address at the beginning of each row, and whether there is one, as inet_pton(3) reads it."""
    inside = _INSIDE.take(np.minimum(length, IPV4_WIDTH)).view(np.bool_).reshape(-1, IPV4_WIDTH)
    dots = (rows == DOT) & inside
    strange = (rows - np.uint8(ZERO) > 9) & ~dots & inside
    # Sums over so few columns are quicker column by column, and truth values as the bytes of a word.
    wrong, halves = _words(strange), np.bitwise_count(_words(dots))
    good = (
        (length >= 7) & (length < IPV4_WIDTH) & ((wrong[:, 0] | wrong[:, 1]) == 0) & (halves[:, 0] + halves[:, 1] == 3)
    )
    chosen = np.flatnonzero(good)
    some = slice(None) if len(chosen) == len(rows) else chosen
    # Row by row in one piece; in front of the first number of the first row stand two bytes that nothing uses.
    text = np.concatenate([np.zeros(2, np.uint8), rows[some].ravel()]) - np.uint8(ZERO)
    begins = np.arange(0, len(chosen) * IPV4_WIDTH, IPV4_WIDTH)
    # Each of these rows has three dots, so their places make a table: behind each of the four numbers.
    ends = np.empty((len(chosen), 4), np.int64)
    ends[:, :3] = np.flatnonzero(dots[some]).reshape(-1, 3)
    ends[:, 3] = begins + length[some]
    digits = np.empty((len(chosen), 4), np.uint8)
    digits.ravel()[1:] = ends.ravel()[1:] - ends.ravel()[:-1] - 1
    digits[:, 0] = ends[:, 0] - begins
    ones, tens, hundreds = text.take(ends + 1), text.take(ends), text.take(ends - 1)
    two, three = digits > 1, digits > 2
    numbers = ones + tens * (two * np.uint16(10)) + hundreds * (three * np.uint16(100))
    outside = (digits - np.uint8(1) > 2) | (numbers > 255) | (two & (numbers < 10)) | (three & (numbers < 100))
    good[chosen] = outside.view(np.uint32)[:, 0] == 0
    address = np.zeros(len(rows), np.uint32)
    address[some] = numbers.astype(np.uint8).view(">u4")[:, 0]
    return address, good


def _words(table: Bools) -> npt.NDArray[np.uint64]:
    """Return the same bytes as words of eight."""
    return table.view(np.uint64)


def _may_be_ipv6(rows: Bytes, length: Ints) -> Bools:
    inside = length.astype(np.uint8)[:, None] > _COLUMNS
    found: Bools = (_OF_ADDRESS[rows] | ~inside).all(1) & ((rows == COLON) & inside).any(1)
    return found


def _are_names(rows: Bytes, length: Ints) -> Bools:
    """Return which first words are a name and cannot be an address: they have a letter behind f."""
    inside = length.astype(np.uint8)[:, None] > _COLUMNS
    letters = ((rows > ord("f")) & (rows <= ord("z")) & inside).any(1)
    numbers = np.arange(len(rows))
    last, behind, first = rows[numbers, length - 1], rows[numbers, length], rows[:, 0]
    named: Bools = letters & (last != COMMA) & (behind == SPACE) & (first != BRACE) & (first != HASH)
    return named


def _hours(text: Bytes, at: Ints, ends: Ints, hours: Hours) -> Ints:
    """Return the hour that is written at these places, 0 for none; a place behind the end of its line has none."""
    left = at + STAMP < ends
    stamps = sliding_window_view(text, 16)[np.minimum(at, len(text) - 16)]
    keys = stamps.view(np.uint64)
    # The last byte is the first digit of the minute.
    early, late = keys[:, 0], keys[:, 1] & _WITHOUT_LAST
    hour = np.zeros(len(at), np.int64)
    for _ in range(MOST_STAMPS if len(left) else 0):
        first = int(left.argmax())
        if not left[first]:
            break
        same = left & (early == early[first]) & (late == late[first])
        stamp = stamps[first].tobytes()
        hour[same] = hours.of_stamp(stamp[:STAMP]) if stamp[STAMP] == COLON else 0
        left ^= same
    # What looks like a time and is none is left to the other reader, which looks further.
    return hour
