# SPDX-License-Identifier: Apache-2.0
"""Publishing: one store switches to both numbers of a window, since what packets go by is never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.linux import libbpf
from geodrop.xdp.control import Control, slot_of
from geodrop.xdp.layout import ControlLayout
from geodrop.xdp.program_set import ProgramSet
from tests.support.engines import XdpEngine

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End


def held(programs: ProgramSet) -> ControlLayout:
    """Return the bytes of the control map."""
    return ControlLayout.from_buffer_copy(libbpf.read_element(programs.fds["control"], 0, 40))


def test_a_window_that_packets_go_by_is_never_changed(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins
) -> None:
    """Each new deadline goes into the other half; the half before stays as it was until no packet reads it."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        with ProgramSet.open(pins.sets()[0]) as programs:
            word = programs.word()
            published = [Control(word, 1 << 62, word._replace(generation=number)) for number in (3, 4, 5)]
            halves = []
            for control in published:
                before = held(programs)
                programs.publish(control)
                assert programs.control() == control
                after = held(programs)
                halves.append(slot_of(after.word))
                untouched = 1 - halves[-1]
                assert bytes(after.window[untouched]) == bytes(before.window[untouched])
            assert halves[0] != halves[1] != halves[2]
            programs.publish(Control(word))
            assert programs.control() == Control(word)
        engine.remove()
