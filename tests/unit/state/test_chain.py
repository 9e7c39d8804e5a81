# SPDX-License-Identifier: Apache-2.0
"""The chain of records: whatever is changed in the middle is found by itself, and the rest by a hash kept elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.state.chain import ChainLink, Checked, check, digest_of, end_of, lines, waiting
from geodrop.state.entry import DONE, MAX_LINE, Entry, line_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COUNT = 12


def made(count: int = COUNT) -> list[bytes]:
    """Return the lines of a chain."""
    found, end = list[bytes](), ChainLink()
    for number in range(1, count + 1):
        found.append(line_of(end.next(Entry(float(number), "load", DONE, 0, number, f"d{number}", why="CHG-88"))))
        end = ChainLink(number, digest_of(found[-1]))
    return found


LINES = made()
CONTENT = b"\n".join([*LINES, b""])
HEAD = digest_of(LINES[-1])


def checked(content: bytes, heads: Sequence[str] = ()) -> Checked:
    """Check a file with this content."""
    *_, found = check(lines(io.BytesIO(content)), heads)
    assert found
    return found


def test_as_written() -> None:
    """An unchanged file has no fault; its head is the hash of the last line."""
    found = checked(CONTENT, [HEAD[:12], digest_of(LINES[4])])
    assert (found.records, found.faults, found.head) == (COUNT, [], ChainLink(COUNT, HEAD))
    assert list(found.numbers.values()) == [5, COUNT]
    assert checked(b"").records == 0


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_any_altered_byte_is_found(place: int, change: int) -> None:
    """A byte that differs anywhere is found: in the last line by the hash that the journal has, elsewhere without."""
    altered = bytearray(CONTENT)
    altered[place] ^= change
    found = checked(bytes(altered), [HEAD])
    assert found.faults or not found.numbers
    if place < len(CONTENT) - len(LINES[-1]) - 1:
        assert found.faults


@given(st.data())
def test_lines_removed_moved_or_repeated_are_found(data: st.DataObject) -> None:
    """A chain with lines in another order, fewer or more of them, is not taken for the one that was written."""
    some = data.draw(st.lists(st.sampled_from(LINES), max_size=COUNT + 2).filter(lambda found: found != LINES))
    found = checked(b"".join(line + b"\n" for line in some), [HEAD])
    assert found.faults or not found.numbers
    if some and some[: len(some)] != LINES[: len(some)]:
        assert found.faults


@given(st.integers(0, len(CONTENT) - 1))
def test_any_cut_is_found(end: int) -> None:
    """A file that ends earlier: within a line that shows by itself, as after a power cut; else by the hash."""
    found = checked(CONTENT[:end], [HEAD])
    assert not found.numbers
    torn = not CONTENT[:end].endswith(b"\n") and end > 0
    assert [one.what.startswith("cut off after") for one in found.faults] == [True] * torn


def test_the_place_is_told() -> None:
    """A fault names the line, and what is wrong with it."""
    altered = [*LINES]
    altered[3] = altered[3].replace(b"CHG-88", b"CHG-89")
    [fault] = checked(b"\n".join([*altered, b""])).faults
    assert (fault.line, fault.what) == (4, "altered: the next line names another hash of it")
    [fault] = checked(b"\n".join([*LINES[:3], *LINES[5:], b""])).faults
    assert (fault.line, fault.what) == (4, "records 4 to 5 are missing before it")
    [fault] = checked(b"\n".join([*LINES[:3], b"\0\0", *LINES[4:], b""])).faults
    assert (fault.line, fault.what) == (4, "cannot be read: it was altered, or written by another program")
    [fault] = checked(b"\n".join([*LINES, line_of(Entry(1.0, "load", DONE, 0)), b""])).faults
    assert fault.what.startswith("a line without a number comes after record 12")
    [fault] = checked(b"\n".join([*LINES[2:], b""])).faults
    assert (fault.line, fault.what) == (1, "records 1 to 2 are missing before it")


def test_what_another_program_wrote_is_a_link_too(tmp_path: Path) -> None:
    """The next record follows from the bytes that are there, whatever they are, so that they cannot be removed."""
    path = tmp_path / "history.jsonl"
    for between in (b"\0" * 40, b"x" * (3 * MAX_LINE)):
        path.write_bytes(b"\n".join([*LINES[:2], between, b""]))
        end = end_of(path)
        assert end == ChainLink(3, digest_of(between))
        with path.open("ab") as file:
            file.write(line_of(end.next(Entry(9.0, "load", DONE, 0))) + b"\n")
        content = path.read_bytes()
        assert [fault.line for fault in checked(content).faults] == [3]
        without = content.replace(between + b"\n", b"")
        assert [fault.what for fault in checked(without).faults] == ["record 3 is missing before it"]


@pytest.mark.parametrize(("rest", "cut"), [(b"", 0), (b'{"time":1', 9), (b"x" * 70_000, 70_000)])
def test_the_end_of_a_file(tmp_path: Path, rest: bytes, cut: int) -> None:
    """The last whole line is the end of the chain; what comes after it was cut off."""
    path = tmp_path / "history.jsonl"
    assert end_of(path) == ChainLink()
    path.write_bytes(rest)
    assert end_of(path) == ChainLink(cut=cut)
    path.write_bytes(CONTENT + rest)
    assert end_of(path) == ChainLink(COUNT, HEAD, cut)


@pytest.mark.parametrize(
    ("held", "written", "left"),
    [
        ([], 3, []),
        ([4, 5], 3, [4, 5]),
        ([3, 4, 5], 4, [5]),
        ([4, 5], 5, []),
        ([6, 7], 3, [6, 7]),
    ],
    ids=["none", "next", "some are written", "all are written", "some are lost"],
)
def test_what_waits(held: list[int], written: int, left: list[int]) -> None:
    """Lines that wait are written as they are, none of them twice."""
    end = ChainLink(written, digest_of(LINES[written - 1]))
    found, after = waiting([LINES[number - 1].decode() for number in held], end)
    assert found == [LINES[number - 1] for number in left]
    assert after.number == (left or [written])[-1]


def test_what_waits_unlinked_is_linked() -> None:
    """A line that could not be linked, since the file could not be read then, follows from the last one."""
    unlinked = line_of(ChainLink().next(Entry(5.0, "pause", DONE, 0)))
    found, after = waiting([unlinked.decode()], ChainLink(3, digest_of(LINES[2])))
    assert checked(b"\n".join([*LINES[:3], *found, b""])).faults == []
    assert after == ChainLink(4, digest_of(found[0]))
