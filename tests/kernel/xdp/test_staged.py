# SPDX-License-Identifier: Apache-2.0
"""What is staged can be left alone, undone or finished; a whole generation judges every packet in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.ruleset.model import Ruleset


@pytest.fixture
def engine(kernel: None) -> Iterator[XdpEngine]:
    """Yield an engine in a namespace with eth0 and eth1."""
    del kernel
    with namespaces("far", "host") as [far, host], own_pins() as pins, host.entered():
        for name in ("eth0", "eth1"):
            join(End(far, name), End(host, name))
        made = XdpEngine(pins=pins)
        yield made
        made.remove()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_failure_after_the_switch_puts_everything_back(
    engine: XdpEngine, rulesets: list[Ruleset], monkeypatch: pytest.MonkeyPatch, *, fresh: bool
) -> None:
    """The old control word and the old program on its links are restored; new links and sets are removed."""
    engine.apply(rulesets[0], 1, ["eth0"])
    before, sets = engine.observe(), engine.pins.sets()
    if fresh:
        monkeypatch.setattr(engine.loader, "version", lambda: "0123456789ab")

    def fail() -> None:
        with engine.staged(rulesets[1], 2) as staged:
            assert staged.attach(["eth0", "eth1"]) == {}
            staged.switch(["eth0", "eth1"])
            assert engine.observe().generation == 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    monkeypatch.undo()
    assert engine.observe() == before
    assert engine.pins.sets() == sets
    assert engine.verify(rulesets[0]) == []


def test_a_body_that_does_not_switch_changes_nothing(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """Neither the empty state nor a state in force changes."""
    with engine.staged(rulesets[0], 1) as staged:
        staged.attach(["eth0"])
    assert engine.pins.sets() == []
    assert engine.pins.link_indexes() == []
    engine.apply(rulesets[0], 1, ["eth0"])
    before = engine.observe()
    with engine.staged(rulesets[1], 2):
        pass
    assert engine.observe() == before
    assert engine.verify(rulesets[0]) == []


def test_a_generation_in_force_changes_its_interfaces_alone(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """No slot is filled; links are added and removed."""
    engine.apply(rulesets[0], 1, ["eth0"])
    sets = engine.pins.sets()
    with engine.staged(rulesets[0], 1) as staged:
        assert staged.new == staged.old
        staged.attach(["eth1"])
        staged.switch(["eth1"])
    assert [one.name for one in engine.observe().interfaces] == ["eth1"]
    assert engine.pins.sets() == sets
    assert engine.verify(rulesets[0]) == []


def test_what_is_retired_judges_nothing_and_keeps_its_counters(engine: XdpEngine, rulesets: list[Ruleset]) -> None:
    """No link is left, and the next load continues the counters."""
    assert not engine.retire()
    engine.apply(rulesets[0], 1, ["eth0", "eth1"])
    counted = engine.counters()
    assert counted
    assert engine.retire()
    assert engine.observe().generation == 0
    assert engine.pins.link_indexes() == []
    assert engine.counters() == counted
    engine.apply(rulesets[0], 2, ["eth0"])
    assert engine.counters() == counted
    assert len(engine.pins.sets()) == 1
    assert engine.verify(rulesets[0]) == []
