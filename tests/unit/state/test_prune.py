# SPDX-License-Identifier: Apache-2.0
"""Which records are forgotten, and which stay."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from geodrop.ruleset.enforced import EnforcedService
from geodrop.state.chain import ChainLink, digest_of, lines
from geodrop.state.entry import DONE, FAILED, Entry, line_of, parse
from geodrop.state.prune import left

API = (EnforcedService("api", "enforce", None, (), ("CN",)),)


def file(entries: list[Entry]) -> bytes:
    """Return a history with these entries."""
    content, end = b"", ChainLink()
    for entry in entries:
        line = line_of(end.next(entry))
        content, end = content + line + b"\n", ChainLink(end.number + 1, digest_of(line))
    return content


def stays(entries: list[Entry], oldest: float, needed: set[str] = frozenset()) -> list[int]:  # type: ignore[assignment]
    """Return the numbers of the records that stay."""
    found = left(lines(io.BytesIO(file(entries))), oldest, 1 << 20, needed)
    kept = found.lines if found else file(entries).splitlines()
    return [entry.number for line in kept if (entry := parse(line))]


LOAD, AGAIN, OTHER = (
    Entry(10.0, "load", DONE, 0, 1, "a", drops=API),
    Entry(20.0, "repair", DONE, 0, 2, "a"),
    Entry(30.0, "load", DONE, 0, 3, "b", drops=API),
)
PAUSE, UNLOAD = Entry(40.0, "pause", DONE, 0, 4, "b", paused=99), Entry(50.0, "unload", DONE, 0)
FAILURE, LATER = Entry(60.0, "reload", FAILED, 0, 5, "c", drops=API), Entry(100.0, "schedule", DONE, 0)


@pytest.mark.parametrize(
    ("entries", "needed", "numbers"),
    [
        ([LOAD, AGAIN, OTHER, LATER], set(), [3, 4]),
        ([LOAD, AGAIN, OTHER, LATER], {"a"}, [1, 2, 3, 4]),
        ([LOAD, AGAIN, OTHER, PAUSE, LATER], set(), [3, 4, 5]),
        ([LOAD, OTHER, replace(PAUSE, generation=0, digest=""), UNLOAD, FAILURE, LATER], set(), [3, 4, 6]),
        ([LOAD, OTHER, replace(UNLOAD, origin="rollback"), LATER], set(), [3, 4]),
        ([LATER, replace(LOAD, time=5.0)], set(), [1, 2]),
    ],
    ids=[
        "what is in force",
        "what is needed",
        "a pause",
        "an unload",
        "a rollback to nothing",
        "a clock that went back",
    ],
)
def test_what_stays(entries: list[Entry], needed: set[str], numbers: list[int]) -> None:
    """What stays tells what was in force after the others, what that drops, and whether it was paused or unloaded."""
    assert stays(entries, 90.0, needed) == numbers


def test_nothing_goes_for_nothing() -> None:
    """If all that is too old is still needed, nothing is rewritten."""
    assert left(lines(io.BytesIO(file([LOAD, LATER]))), 90.0, 1 << 20, set()) is None
    assert left(lines(io.BytesIO(b"")), 90.0, 1 << 20, set()) is None


def test_what_is_said_of_the_rest() -> None:
    """The record of it names the last one that went, until when, how many, and the hashes of those that stay."""
    content = file([LOAD, AGAIN, OTHER, LATER])
    found = left(lines(io.BytesIO(content)), 90.0, 1 << 20, set())
    assert found
    hashes = [digest_of(line) for line in content.splitlines()]
    assert (found.pruned.through, found.pruned.digest, found.pruned.kept) == (2, hashes[1], {"3": hashes[2]})
    assert found.text == "2 records until 1970-01-01T00:00:20Z forgotten, as `keep` says"
    assert found.since == 10.0


def test_by_size() -> None:
    """As many of the oldest go as it takes; a line that cannot be read goes with them."""
    content = file([LOAD, AGAIN]) + b"\0\n" + file([replace(OTHER, number=9)] * 20)
    limit = len(content) // 2
    found = left(lines(io.BytesIO(content)), 0.0, limit, set())
    assert found
    assert limit / 2 < sum(map(len, found.lines)) < limit + 2 * 300
    assert b"\0\n" not in found.lines
