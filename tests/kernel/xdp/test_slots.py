# SPDX-License-Identifier: Apache-2.0
"""A window on xdp: both slots are taken; packets go back at the deadline with nobody running; each way to end it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.api import Undo
from geodrop.errors import ApplyError
from geodrop.linux.clock import monotonic
from geodrop.xdp.program_set import ProgramSet
from tests.kernel.xdp.probe import Probe
from tests.support.waiting import LASTING, until

if TYPE_CHECKING:
    from geodrop.engine.api import Difference
    from geodrop.ruleset.model import Ruleset
    from tests.support.engines import XdpEngine
    from tests.support.namespaces import End

SECOND = 10**9
LONG = 600 * SECOND


def switch(
    engine: XdpEngine, wanted: Ruleset, generation: int, undo: Undo | None = None, seconds: int | None = None
) -> None:
    """Put a generation in force, until the deadline of `undo` if there is one, or for `seconds` from the switch."""
    with engine.staged(wanted, generation, undo) as staged:
        staged.attach(["eth0"])
        deadline = undo.deadline if undo else 0
        staged.switch(["eth0"], deadline if seconds is None else monotonic() + seconds * SECOND)


def where(differences: list[Difference]) -> list[str]:
    """Return the places that differ."""
    return [one.where for one in differences]


@pytest.mark.parametrize("first", [True, False], ids=["nothing before", "a generation before"])
def test_the_program_goes_back_by_itself(
    engine: XdpEngine, ends: tuple[End, End], rulesets: list[Ruleset], *, first: bool
) -> None:
    """The process that loads is gone; packets are judged by the newer generation, then by what was there before."""
    old, new = rulesets
    with Probe(*ends) as probe:
        seen = False
        for seconds in LASTING:
            engine.remove()
            if not first:
                engine.apply(old, 1, ["eth0"])
            if (child := os.fork()) == 0:
                switch(engine, new, 2, Undo(0 if first else 1, None if first else old), seconds)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            if seen := probe.policy() == "b":
                break
        assert seen
        until(lambda: probe.policy() != "b")
        assert probe.policy() == ("" if first else "a")
    found = engine.observe()
    assert (found.generation, found.digest) == ((0, "") if first else (1, old.digest))
    assert found.window is not None
    assert found.window.over


def test_a_window_is_verified_and_confirmed(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """Both generations are there; the deadline is compared, and that there should be a window at all."""
    old, new = rulesets
    engine.apply(old, 1, ["eth0"])
    undo = Undo(1, old, monotonic() + LONG)
    switch(engine, new, 2, undo)
    found = engine.observe()
    assert (found.generation, found.digest) == (2, new.digest)
    assert found.window is not None
    assert (found.window.previous, found.window.previous_digest) == (1, old.digest)
    assert engine.verify(new, undo=undo) == []
    assert engine.verify_share(new, 0, 1, undo) == []
    assert where(engine.verify(new)) == ["control map"]
    assert where(engine.verify(new, undo=Undo(1, old, undo.deadline + SECOND))) == ["control map"]
    assert where(engine.verify(new, undo=Undo(0, None, undo.deadline))) == ["control map"]
    assert "policy map" in where(engine.verify(new, undo=Undo(1, new, undo.deadline)))
    switch(engine, new, 2)
    assert engine.observe().window is None
    assert engine.verify(new) == []
    with ProgramSet.open(engine.pins.sets()[0]) as programs:
        slot = 1 - programs.control().word.tables
    assert not (engine.pins.sets()[0] / f"tables{slot}").exists()


def test_a_window_is_set_again(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """The new deadline holds, shorter or longer; going back at once leaves the older generation alone."""
    old, new = rulesets
    engine.apply(old, 1, ["eth0"])
    for lasting in (LONG, LONG // 2, 2 * LONG):
        undo = Undo(1, old, monotonic() + lasting)
        switch(engine, new, 2, undo)
        assert engine.verify(new, undo=undo) == []
    assert len(engine.pins.sets()) == 1
    switch(engine, old, 1)
    assert engine.verify(old) == []


def test_both_are_filled_again_beside_a_window(
    engine: XdpEngine, ends: tuple[End, End], rulesets: list[Ruleset]
) -> None:
    """A pause or a repair needs two slots that no packet reads: they come with a new set, and counters go on."""
    old, new = rulesets
    engine.apply(old, 1, ["eth0"])
    undo = Undo(1, old, monotonic() + LONG)
    switch(engine, new, 2, undo)
    with Probe(*ends) as probe:
        assert probe.policy() == "b"
        before = engine.counters()
        again = Undo(3, old, undo.deadline)
        switch(engine, new, 4, again)
        assert engine.verify(new, undo=again) == []
        assert engine.counters() == before
        assert probe.policy() == "b"
        switch(engine, old, 3)
        assert probe.policy() == "a"
    assert engine.verify(old) == []
    assert len(engine.pins.sets()) == 1


def test_too_late(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """A window that is over cannot be confirmed; what it went back to stays in force."""
    old, new = rulesets
    engine.apply(old, 1, ["eth0"])
    undo = Undo(1, old, monotonic() + 1)
    switch(engine, new, 2, undo)
    assert engine.verify(new, undo=undo) == []
    with pytest.raises(ApplyError, match="too late"):
        switch(engine, new, 2)
    assert engine.observe().generation == 1
    switch(engine, old, 1)
    assert engine.verify(old) == []


def test_a_switch_that_fails_restores_the_window(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """Both generations and the deadline are as before."""
    old, new = rulesets
    engine.apply(old, 1, ["eth0"])
    undo = Undo(1, old, monotonic() + LONG)
    switch(engine, new, 2, undo)
    with pytest.raises(RuntimeError), engine.staged(new, 2) as staged:  # noqa: PT012 - it fails after the switch
        staged.switch(["eth0"])
        raise RuntimeError
    assert engine.verify(new, undo=undo) == []
