# SPDX-License-Identifier: Apache-2.0
"""What is kept of a load that waits, and what becomes of the intent when it is undone."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from geodrop.ruleset.fields import Invalid
from geodrop.state.entry import Entry
from geodrop.state.intent import INTENT, Intent, recovered
from geodrop.state.unconfirmed import SECOND, UNCONFIRMED, Unconfirmed, Undone, undone

OLD, NEW = "a" * 64, "b" * 64
WAITS = Unconfirmed(42, 41, OLD, seconds=60, deadline=100 * SECOND, ends=1_700_000_000, boot="12345678", why="CHG-1")
INTENT_OF_LOAD = Intent(42, NEW, last_good=OLD, confirm=WAITS)


def test_it_survives_the_file() -> None:
    """Both forms are read back as they were written; a missing key or a wrong number is refused."""
    kept = {name: value for name, value in asdict(INTENT_OF_LOAD).items() if name != "unknown"}
    assert INTENT(kept) == INTENT_OF_LOAD
    after = undone(INTENT_OF_LOAD, WAITS, 1_700_000_060)
    assert INTENT({name: value for name, value in asdict(after).items() if name != "unknown"}) == after
    for wrong in ({"generation": -1}, {"seconds": 0}, {"seconds": 90_000}, {"digest": "x/y"}, {"deadline": 1.5}):
        with pytest.raises(Invalid):
            UNCONFIRMED({**asdict(WAITS), **wrong})


def test_the_time_that_is_left() -> None:
    """It counts down by the clock that nobody sets; after a boot nothing is left."""
    assert WAITS.left("12345678", 40 * SECOND) == 60
    assert WAITS.left("12345678", 101 * SECOND) == -1
    assert WAITS.left("87654321", 0) == 0


def test_an_undo_counts_as_a_rollback() -> None:
    """What was before is asked for again, and stays; the last good ruleset is the same."""
    after = undone(INTENT_OF_LOAD, WAITS, 1_700_000_060)
    assert (after.digest, after.last_good, after.rolled_back, after.unloaded) == (OLD, OLD, True, False)
    assert after.confirm is None
    assert after.undone == Undone(NEW, 42, 1_700_000_060, "CHG-1")
    assert str(after.undone) == "generation 42 (CHG-1) was not confirmed and undone at 2023-11-14T22:14:20Z"


def test_the_history_leads_to_the_same() -> None:
    """A load that waits is not what a boot restores; confirmed it is, and undone it is not."""
    before = Entry(1, "load", "done", 0, 41, OLD)
    load = Entry(2, "reload", "done", 0, 42, NEW, confirm=1_700_000_000)
    waits = recovered([before, load])
    assert (waits.digest, waits.last_good, waits.generation) == (OLD, OLD, 42)
    confirmed = recovered([before, load, Entry(3, "confirm", "done", 0, 42, NEW)])
    assert (confirmed.digest, confirmed.last_good, confirmed.rolled_back) == (NEW, NEW, False)
    back = recovered([before, load, Entry(3, "undo", "done", 0, 41, OLD)])
    assert (back.digest, back.last_good, back.rolled_back) == (OLD, OLD, True)
    assert recovered([load, Entry(3, "undo", "done", 0)]).unloaded
