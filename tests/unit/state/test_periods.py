from typing import Any

import pytest

from geodrop.state.entry import DONE, FAILED, Entry
from geodrop.state.periods import PeriodInForce, in_force_at, periods

A, B, C = "a" * 64, "b" * 64, "c" * 64


def entry(time: int, origin: str, generation: int = 0, digest: str = "", **changed: Any) -> Entry:  # noqa: ANN401 - fields
    """Return an entry of root."""
    return Entry(time, origin, changed.pop("outcome", DONE), 0, generation, digest, **changed)


def spans(entries: list[Entry], now: float = 1_000) -> list[tuple[float, float | None, int, str]]:
    """Return start, end, generation and digest of each period."""
    return [(one.start, one.end, one.generation, one.digest) for one in periods(entries, now)]


def test_one_after_the_other() -> None:
    """Each change that puts something in force begins a period, and ends the one before; failed ones do neither."""
    entries = [
        entry(10, "load", 1, A),
        entry(15, "reload", 2, B, outcome=FAILED),
        entry(20, "reload", 2, B),
        entry(25, "exempt"),
        entry(30, "unload"),
        entry(40, "boot", 3, B),
    ]
    assert spans(entries) == [(10, 20, 1, A), (20, 30, 2, B), (30, 40, 0, ""), (40, None, 3, B)]
    assert spans([]) == []


def test_a_pause_applies_to_what_follows() -> None:
    """A reload in a pause stays paused; a resume ends it."""
    entries = [
        entry(10, "load", 1, A),
        entry(20, "pause", 2, A, paused=500),
        entry(30, "reload", 3, B),
        entry(40, "resume", 4, B),
    ]
    assert [(one.start, one.paused) for one in periods(entries, 1_000)] == [(10, 0), (20, 500), (30, 500), (40, 0)]


TRIAL = [entry(10, "load", 1, A), entry(20, "reload", 2, B, confirm=100)]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([], [(100, None, 1, A)]),
        ([entry(130, "undo", 1, A)], [(100, 130, 1, A), (130, None, 1, A)]),
        ([entry(130, "undo", 3, A)], [(100, 130, 1, A), (130, None, 3, A)]),
        ([entry(130, "undo", 0, A)], [(100, 130, 1, A), (130, None, 1, A)]),
        ([entry(50, "undo", 0, A)], [(50, None, 1, A)]),
        ([entry(50, "rollback", 3, A)], [(50, None, 3, A)]),
        ([entry(50, "confirm", 2, B)], [(50, None, 2, B)]),
        ([entry(50, "reload", 2, B, confirm=200)], [(50, 200, 2, B), (200, None, 1, A)]),
        ([entry(50, "pause", 4, B, confirm=100, paused=60)], [(50, 100, 4, B), (100, None, 1, A)]),
        ([entry(50, "unload")], [(50, None, 0, "")]),
    ],
    ids=["over", "recorded", "tidied", "after-a-boot", "early", "rollback", "confirmed", "longer", "pause", "unload"],
)
def test_a_load_that_has_to_be_confirmed(
    rest: list[Entry], expected: list[tuple[float, float | None, int, str]]
) -> None:
    """Without a confirmation it is in force until its deadline, whenever that was recorded; then what was before."""
    end = expected[0][0]
    assert spans([*TRIAL, *rest]) == [(10, 20, 1, A), (20, end, 2, B), *expected]


def test_in_a_window_that_is_open() -> None:
    """Before its deadline a load is in force like any other."""
    assert spans(TRIAL, now=99)[-1] == (20, None, 2, B)


def test_nothing_before() -> None:
    """A first load that is undone, or rolled back in its window, leaves nothing in force."""
    first = entry(20, "load", 1, A, confirm=100)
    assert spans([first]) == [(20, 100, 1, A), (100, None, 0, "")]
    assert spans([first, entry(130, "undo")])[-1] == (130, None, 0, "")
    assert spans([first, entry(50, "rollback")]) == [(20, 50, 1, A), (50, None, 0, "")]


def test_another_load_after_a_window() -> None:
    """What a later window goes back to is what was in force before that one."""
    entries = [*TRIAL, entry(50, "confirm", 2, B), entry(60, "reload", 3, C, confirm=200)]
    assert spans(entries)[-2:] == [(60, 200, 3, C), (200, None, 2, B)]


def test_a_clock_that_was_set_back() -> None:
    """Periods never overlap, nor end before they begin."""
    entries = [entry(100, "load", 1, A), entry(50, "reload", 2, B), entry(150, "reload", 3, C)]
    assert spans(entries) == [(100, 150, 2, B), (150, None, 3, C)]


def test_in_force_at() -> None:
    """A period holds its first moment and not its end; before the first one nothing is known."""
    known = periods([entry(10, "load", 1, A), entry(20, "reload", 2, B)], 1_000)
    found = [in_force_at(known, moment) for moment in (9, 10, 19.9, 20, 10**6)]
    assert [one and one.generation for one in found] == [None, 1, 1, 2, 2]
    assert found[1] == PeriodInForce(10, 1, A, 0, "load", 20)
