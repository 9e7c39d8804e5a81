# SPDX-License-Identifier: Apache-2.0
"""What is known of a load that waits, from the intent or from the kernel."""

from __future__ import annotations

import time
from dataclasses import replace

from geodrop.engine.api import Observed, Window
from geodrop.linux.clock import monotonic
from geodrop.operations.window import ended, is_over, left, moment_of, with_window
from geodrop.state.intent import Intent
from geodrop.state.this_boot import boot_id
from geodrop.state.unconfirmed import SECOND, Unconfirmed, Undone

OLD, NEW = "a" * 64, "b" * 64


def waiting(seconds: float) -> Unconfirmed:
    """Return a load with this much time left."""
    deadline = monotonic() + round(seconds * SECOND)
    return Unconfirmed(42, 41, OLD, deadline=deadline, ends=1_700_000_000, boot=boot_id())


def test_time_is_told_by_this_boot() -> None:
    """A load is over at its deadline and in every other boot, but not before its deadline is set."""
    assert not is_over(waiting(60))
    assert 59 < left(waiting(60)) <= 60
    assert is_over(waiting(-1))
    assert is_over(replace(waiting(60), boot="another"))
    assert not is_over(replace(waiting(60), deadline=0))


def test_when_it_was_undone() -> None:
    """By the machine's clock now, which may have been set since; in another boot only the time of then is known.

    A boot before the deadline ends the window, so it is not undone in the future.
    """
    assert abs(ended(waiting(-5)) - (time.time() - 5)) < 2
    assert ended(replace(waiting(60), boot="another")) == 1_700_000_000
    for early in (waiting(3_600), replace(waiting(60), boot="another", ends=4_000_000_000)):
        assert abs(ended(early) - time.time()) < 2
    assert abs(moment_of(monotonic() + 60 * SECOND) - time.time() - 60) < 2


def test_the_kernel_knows_what_the_intent_lacks() -> None:
    """A process may end before it writes; but what is recorded as undone is not taken up again."""
    window = Window(42, NEW, 41, OLD, monotonic() + 60 * SECOND, over=False)
    observed = Observed(42, NEW, window=window)
    found = with_window(Intent(42, OLD, last_good=OLD, begun=42), observed)
    assert (found.digest, found.last_good) == (NEW, OLD)
    assert found.confirm is not None
    assert (found.confirm.generation, found.confirm.previous, found.confirm.digest) == (42, 41, OLD)
    known = Intent(42, NEW, confirm=waiting(60))
    assert with_window(known, observed) is known
    recorded = Intent(42, OLD, undone=Undone(NEW, 42, 0))
    assert with_window(recorded, observed) is recorded
    nothing = with_window(
        Intent(42, begun=42), Observed(42, NEW, window=replace(window, previous=0, previous_digest=""))
    )
    assert nothing.confirm is not None
    assert nothing.confirm.unloaded
