# SPDX-License-Identifier: Apache-2.0
"""What was in force from when to when, from records alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from geodrop.ruleset.enforced import EnforcedService
from geodrop.state.entry import DONE, FAILED, HELD, Entry, Pruned
from geodrop.state.timeline import EMPTY, NOT_IN_POLICY, OTHER, UNRECORDED, spans
from tests.support.timelines import stretches

NOW = 10_000.0
CN = EnforcedService("api", "enforce", None, (), ("CN",))
CN_BR = replace(CN, lines=("BR", "CN"))


def load(at: float, generation: int, digest: str, *drops: EnforcedService, before: int = 0) -> Entry:
    """Return a load that succeeded."""
    return Entry(at, "load", DONE, 0, generation, digest, drops=drops, previous_generation=before)


def told(entries: list[Entry], line: str = "CN", digest: str = "a", since: float = 100.0) -> list[tuple[float, str]]:
    """Return when each span begins, and its cause ("" if the line was in force)."""
    found = stretches(entries, NOW, digest)
    assert all(one.end == after.start for one, after in pairwise(found))
    assert (found[0].start, found[-1].end) == (0.0, NOW)
    return [(one.start, one.cause) for one in spans(found, "api", line, since)]


LOADED = load(100, 1, "a", CN)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ([], [(100, "")]),
        ([Entry(200, "reload", FAILED, 0, 2, "b")], [(100, "")]),
        ([Entry(200, "reload", HELD, 0, 0, "b")], [(100, "")]),
        ([Entry(200, "unload", DONE, 0), load(300, 2, "a", CN)], [(100, ""), (200, "unload"), (300, "")]),
        (
            [Entry(200, "pause", DONE, 0, 2, "a", paused=400, previous_generation=1)],
            [(100, ""), (200, "pause"), (400, "")],
        ),
        (
            [
                Entry(200, "pause", DONE, 0, 2, "a", paused=4_000, previous_generation=1),
                load(250, 3, "a", before=2),
                Entry(300, "resume", DONE, 0, 4, "a", previous_generation=3),
            ],
            [(100, ""), (200, "pause"), (300, "")],
        ),
        (
            [Entry(200, "repair", DONE, 0, 2, "a", since=190, previous_generation=1)],
            [(100, ""), (190, "drift"), (200, "")],
        ),
        ([Entry(200, "repair", DONE, 0, since=190)], [(100, ""), (190, "drift"), (200, "")]),
        (
            [
                Entry(200, "repair", FAILED, 0, since=190, previous_generation=1),
                Entry(260, "repair", DONE, 0, 2, "a", since=250),
            ],
            [(100, ""), (190, "drift"), (260, "")],
        ),
        (
            [
                Entry(200, "drift", FAILED, 0, since=190, previous_generation=1),
                Entry(300, "drift", DONE, 0, since=290, previous_generation=1),
            ],
            [(100, ""), (190, "drift"), (300, "")],
        ),
        ([Entry(200, "boot", DONE, 0, 2, "a", since=150)], [(100, ""), (150, EMPTY), (200, "")]),
        (
            [Entry(200, "exempt", DONE, 0), Entry(300, "repair", DONE, 0, 2, "a")],
            [(100, ""), (200, EMPTY), (300, "")],
        ),
        (
            [
                replace(load(200, 2, "b", replace(CN, lines=("BR",)), before=1), confirm=260),
                Entry(265, "undo", DONE, 0, 1, "a", since=260, previous_generation=2),
            ],
            [(100, ""), (200, NOT_IN_POLICY), (260, "")],
        ),
        ([load(50, 2, "a", before=1)], [(100, "")]),
        (
            [Entry(200, "rollback", DONE, 0, previous_generation=1), load(300, 2, "a", CN)],
            [(100, ""), (200, "rollback"), (300, "")],
        ),
        (
            [replace(load(200, 2, "b", replace(CN, lines=("BR",)), before=1), confirm=260)],
            [(100, ""), (200, NOT_IN_POLICY), (260, "")],
        ),
    ],
    ids=[
        "a load",
        "a failure",
        "held",
        "an unload",
        "a pause that ends by itself",
        "a resume, and a load in the pause",
        "a repair",
        "a repair of what others put beside it",
        "a repair that failed at first",
        "what a repair could not mend",
        "a boot",
        "found empty",
        "an undo",
        "a clock that went back",
        "a rollback to nothing",
        "an undo that nobody recorded yet",
    ],
)
def test_a_line(more: list[Entry], wanted: list[tuple[float, str]]) -> None:
    """Each kind of record moves the line in or out of force, at the moment when that really happened."""
    assert told([LOADED, *more]) == wanted


def known(entries: list[Entry], now: float = NOW) -> list[tuple[float, float, int, str]]:
    """Return start, end, generation and digest of each stretch after the first record."""
    found = [one for one in stretches(entries, now) if one.cause != UNRECORDED]
    return [(one.start, one.end, one.generation, one.digest) for one in found]


def test_generations() -> None:
    """Each change that puts something in force begins a stretch, and ends the one before; failed ones do neither."""
    entries = [
        load(10, 1, "a"),
        Entry(15, "reload", FAILED, 0, 2, "b", previous_generation=1),
        load(20, 2, "b", before=1),
        Entry(25, "exempt", DONE, 0),
        Entry(30, "unload", DONE, 0, previous_generation=2),
        load(40, 3, "b"),
    ]
    assert known(entries) == [(10, 20, 1, "a"), (20, 30, 2, "b"), (30, 40, 0, ""), (40, NOW, 3, "b")]
    assert known([]) == []


def test_a_pause_applies_to_what_follows() -> None:
    """A reload in a pause stays paused; a resume ends it."""
    entries = [
        load(10, 1, "a"),
        Entry(20, "pause", DONE, 0, 2, "a", paused=500, previous_generation=1),
        load(30, 3, "b", before=2),
        Entry(40, "resume", DONE, 0, 4, "b", previous_generation=3),
    ]
    found = [(one.start, one.paused) for one in stretches(entries, NOW)]
    assert found == [(0, 0), (10, 0), (20, 500), (30, 500), (40, 0)]


TRIAL = [load(10, 1, "a"), replace(load(20, 2, "b", before=1), confirm=100)]


def then(time: float, origin: str, generation: int = 0, digest: str = "", confirm: int = 0) -> Entry:
    """Return what follows in the window or after it."""
    return Entry(time, origin, DONE, 0, generation, digest, confirm=confirm, previous_generation=2)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([], [(100, NOW, 1, "a")]),
        ([then(130, "undo", 1, "a")], [(100, 130, 1, "a"), (130, NOW, 1, "a")]),
        ([replace(then(130, "undo", 1, "a"), since=100.0)], [(100, NOW, 1, "a")]),
        ([then(130, "undo", 3, "a")], [(100, 130, 1, "a"), (130, NOW, 3, "a")]),
        ([then(130, "undo", 0, "a")], [(100, 130, 1, "a"), (130, NOW, 1, "a")]),
        ([then(50, "undo", 0, "a")], [(50, NOW, 1, "a")]),
        ([then(50, "rollback", 3, "a")], [(50, NOW, 3, "a")]),
        ([then(50, "confirm", 2, "b")], [(50, NOW, 2, "b")]),
        ([then(50, "reload", 2, "b", 200)], [(50, 200, 2, "b"), (200, NOW, 1, "a")]),
        ([then(50, "pause", 4, "b", 100)], [(50, 100, 4, "b"), (100, NOW, 1, "a")]),
        ([then(50, "unload")], [(50, NOW, 0, "")]),
    ],
    ids=[
        *("over", "recorded", "recorded with its time", "after-a-boot", "tidied", "early", "rollback", "confirmed"),
        *("longer", "pause", "unload"),
    ],
)
def test_a_load_that_has_to_be_confirmed(rest: list[Entry], expected: list[tuple[float, float, int, str]]) -> None:
    """Without a confirmation it is in force until its deadline, whenever that was recorded; then what was before."""
    end = expected[0][0]
    assert known([*TRIAL, *rest]) == [(10, 20, 1, "a"), (20, end, 2, "b"), *expected]


def test_in_a_window_that_is_open() -> None:
    """Before its deadline a load is in force like any other."""
    assert known(TRIAL, now=99)[-1] == (20, 99, 2, "b")


def test_nothing_before() -> None:
    """A first load that is undone, or rolled back in its window, leaves nothing in force; that load is responsible."""
    first = replace(load(20, 1, "a"), confirm=100)
    assert known([first]) == [(20, 100, 1, "a"), (100, NOW, 0, "")]
    assert known([first, then(130, "undo")])[-1] == (130, NOW, 0, "")
    assert known([first, then(50, "rollback")]) == [(20, 50, 1, "a"), (50, NOW, 0, "")]
    [*_, last] = stretches([first], NOW)
    assert (last.cause, last.by) == ("undo", first)


def test_another_load_after_a_window() -> None:
    """What a later window goes back to is what was in force before that one."""
    entries = [*TRIAL, then(50, "confirm", 2, "b"), replace(load(60, 3, "c", before=2), confirm=200)]
    assert known(entries)[-2:] == [(60, 200, 3, "c"), (200, NOW, 2, "b")]


def test_what_the_policy_said() -> None:
    """A line that a later policy drops is not in force before it; monitor, starts and shares are told by the clock."""
    later = load(500, 2, "b", CN_BR, before=1)
    assert told([LOADED, later], "BR", "b") == [(100, NOT_IN_POLICY), (500, "")]
    assert told([LOADED, later], "CN", "b") == [(100, "")]
    for service, wanted in (
        (replace(CN, mode="monitor"), [(100, "monitor")]),
        (replace(CN, starts=600), [(100, "before its start"), (600, "")]),
        (
            replace(CN, ramp=((0, 0), (200, 100), (600, 10_000))),
            [(100, "share 0%"), (200, "share 1%"), (600, "")],
        ),
        (replace(CN, lines=("default",), passes=("US",)), [(100, "")]),
        (replace(CN, lines=("default",), passes=("CN",)), [(100, NOT_IN_POLICY)]),
    ):
        assert told([load(100, 1, "a", service)]) == wanted


def test_what_is_not_known_counts_as_not_in_force() -> None:
    """Before the first record, a ruleset that no record describes, a kernel that differs, what was forgotten."""
    assert told([LOADED], since=50.0) == [(50, UNRECORDED), (100, "")]
    assert told([], since=50.0) == [(50, UNRECORDED)]
    assert told([load(100, 1, "a")]) == [(100, UNRECORDED)]
    assert told([LOADED, Entry(700, "exempt", DONE, 0)], digest="") == [(100, ""), (700, EMPTY)]
    assert told([LOADED, Entry(700, "exempt", DONE, 0)], digest="z") == [(100, ""), (700, OTHER)]
    pruned = Entry(900, "prune", DONE, 0, pruned=Pruned(3, "0" * 64, 400.0, 2))
    assert told([LOADED, pruned]) == [(100, UNRECORDED), (400, "")]


def test_who_is_responsible() -> None:
    """A gap names the record that made it: a pause its own, a line that is missing the load of that policy."""
    paused = Entry(200, "pause", DONE, 0, 2, "a", paused=400, previous_generation=1, why="INC-123")
    found = stretches([LOADED, paused], NOW)
    assert [one.by and one.by.why for one in spans(found, "api", "CN", 0.0) if one.cause == "pause"] == ["INC-123"]
    [before, gap] = spans(found, "api", "BR", 0.0)
    assert (before.by, gap.by, gap.cause) == (None, LOADED, NOT_IN_POLICY)
