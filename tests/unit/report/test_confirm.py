# SPDX-License-Identifier: Apache-2.0
"""The objects `confirm` and `undone`, and the problem that remains."""

from __future__ import annotations

from geodrop.linux.clock import monotonic
from geodrop.report.confirm import as_it_is, problem, taken_back, waiting
from geodrop.state.intent import Intent
from geodrop.state.this_boot import boot_id
from geodrop.state.unconfirmed import SECOND, Unconfirmed

OLD, NEW = "a" * 64, "b" * 64


def intent(seconds: int, previous: int = 41) -> Intent:
    """Return the intent of a load with this much time left."""
    deadline = monotonic() + seconds * SECOND
    confirm = Unconfirmed(42, previous, OLD, deadline=deadline, boot=boot_id(), why="CHG-1")
    return Intent(42, NEW, last_good=OLD, confirm=confirm)


def test_a_load_that_waits() -> None:
    """It is no problem; without a generation before it, `previous` is null; without a deadline it is not shown yet."""
    found = waiting(intent(600).confirm, NEW)
    assert found is not None
    assert (found["digest"], found["generation"], found["previous"]) == (NEW, 42, 41)
    assert 590 < found["seconds_left"] <= 600
    assert waiting(None, NEW) is None
    assert waiting(Unconfirmed(42), NEW) is None
    assert (waiting(intent(600, 0).confirm, NEW) or {})["previous"] is None
    assert as_it_is(intent(600)).confirm is not None
    assert taken_back(intent(600)) is None
    assert problem(intent(600)) == []


def test_a_load_that_is_over_is_shown_as_undone() -> None:
    """Also before a change or the daemon has recorded it."""
    recorded = as_it_is(intent(-5))
    assert (recorded.confirm, recorded.digest, recorded.rolled_back) == (None, OLD, True)
    assert (taken_back(recorded) or {})["digest"] == NEW
    [line] = problem(recorded)
    assert line.startswith("generation 42 (CHG-1) was not confirmed and undone at ")
