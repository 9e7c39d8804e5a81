# SPDX-License-Identifier: Apache-2.0
"""What two generations and a window should look like; the switch to them is tested in tests/kernel."""

from __future__ import annotations

from dataclasses import replace

from geodrop.engine.api import Scope, Undo
from geodrop.linux.clock import monotonic
from geodrop.nftables import names, readback, render
from geodrop.nftables.expected import digests, expected
from geodrop.nftables.model import Expiry, Snapshot, Surplus
from tests.support.rulesets import Service, ruleset

OLD = ruleset(Service("api", {"1.0.1.0/24": "CN"}))
NEW = ruleset(Service("api", {"1.0.2.0/24": "RU"}))
WINDOW = names.window(2)


def loaded(left: int | None) -> Snapshot:
    """Return a table in a window with seconds left; None: it is over."""
    programs = [render.build(one, number, (), 0) for number, one in ((1, OLD), (2, NEW))]
    base = render.base_chain(render.switch(2, Scope(("eth0",)), 1))
    end = monotonic() + (left or 0) * 10**9
    return Snapshot(
        comment="geodrop",
        flags=0,
        chains={chain.name: chain for chain in (base, *programs[0].chains, *programs[1].chains)},
        maps={map_.header.name: map_.header for program in programs for map_ in program.maps},
        sets=(),
        counters=dict.fromkeys((name for program in programs for name in program.counters), (0, 0)),
        own_sets={header.name: header for header in programs[0].sets},
        windows={WINDOW: None if left is None else Expiry(end, end)},
    )


def wheres(snapshot: Snapshot, undo: Undo | None) -> list[str]:
    """Return the places where the table differs."""
    found = readback.in_force(snapshot)
    assert found is not None
    wanted, differences = expected(snapshot, found, NEW, undo)
    return [one.where for one in (wanted.differences(snapshot) if wanted else differences)]


def test_an_open_window() -> None:
    """The newer generation is in force, and all is as it should be."""
    snapshot = loaded(60)
    found = readback.in_force(snapshot)
    assert found is not None
    assert (found.generation, found.led_to) == (2, {1: OLD.digest, 2: NEW.digest})
    undo = Undo(1, OLD, monotonic() + 60 * 10**9)
    assert wheres(snapshot, undo) == []
    assert digests(found, NEW, undo) == []
    assert [one.where for one in digests(found, OLD, Undo(1, NEW))] == ["chain g2", "chain g1"]
    assert wheres(snapshot, None) == ["chain prerouting"]


def test_a_window_that_is_over_is_no_difference() -> None:
    """It is one before its deadline, and so is an element that outlives the deadline."""
    found = readback.in_force(loaded(None))
    assert found is not None
    assert (found.generation, found.digest) == (1, OLD.digest)
    now = monotonic()
    assert wheres(loaded(None), Undo(1, OLD, now - 10**9)) == []
    assert wheres(loaded(None), Undo(1, OLD, now + 60 * 10**9)) == [f"set {WINDOW}"]
    assert wheres(loaded(60), Undo(1, OLD, now - 10**9)) == [f"set {WINDOW}"]


def test_nothing_of_a_window_is_surplus() -> None:
    """Another window is, and the set itself if it is missing is a difference."""
    snapshot = loaded(60)
    found = readback.in_force(snapshot)
    assert found is not None
    undo = Undo(1, OLD, monotonic() + 60 * 10**9)
    wanted, _ = expected(snapshot, found, NEW, undo)
    assert wanted is not None
    assert not wanted.surplus(snapshot)
    more = replace(snapshot, windows={**snapshot.windows, names.window(9): None})
    assert wanted.surplus(more) == Surplus((), (names.window(9),))
    assert [one.where for one in wanted.differences(replace(snapshot, windows={}))] == [f"set {WINDOW}"]
