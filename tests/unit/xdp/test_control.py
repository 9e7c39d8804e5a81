# SPDX-License-Identifier: Apache-2.0
"""The control word as a number. Everything else in xdp/program_set.py needs the kernel; tests/kernel tests it."""

from __future__ import annotations

import pytest

from geodrop.xdp import layout
from geodrop.xdp.control import Control, ControlWord


@pytest.mark.parametrize(
    "word", [ControlWord(), ControlWord(1, 0, 1), ControlWord(1, 1, 0), ControlWord((1 << 40) + 5, 1, 1)]
)
def test_a_word_survives_packing(word: ControlWord) -> None:
    """Generation and both slots are read back."""
    assert ControlWord.unpack(word.pack()) == word


def test_nothing_in_force_is_zero() -> None:
    """A new map, all zeroes, judges nothing."""
    assert ControlWord().pack() == 0
    assert ControlWord.unpack(0).generation == 0
    assert ControlWord(1).pack() != 0


def test_a_window_is_read_from_the_half_that_the_word_names() -> None:
    """The other half may hold an older window, or one that is being written."""
    held = layout.ControlLayout(ControlWord(7, 1, 1).pack() | layout.CONTROL_WINDOW | layout.CONTROL_WINDOW_SLOT)
    held.window[0] = layout.WindowLayout(1, ControlWord(5, 1, 0).pack())
    held.window[1] = layout.WindowLayout(900, ControlWord(6, 0, 0).pack())
    assert Control.read(held) == Control(ControlWord(7, 1, 1), 900, ControlWord(6, 0, 0))
    held.word = ControlWord(7, 1, 1).pack()
    assert Control.read(held) == Control(ControlWord(7, 1, 1))


def test_a_window_is_over_at_its_deadline() -> None:
    """From the deadline on the previous word counts, and both are what packets may read."""
    control = Control(ControlWord(7, 1, 1), 900, ControlWord(6, 1, 0))
    assert [control.at(now).generation for now in (0, 899, 900, 901)] == [7, 7, 6, 6]
    assert (control.policies, control.tables) == ({0, 1}, {1})
    assert control._replace(previous=ControlWord()).words == (ControlWord(7, 1, 1),)
    assert not control._replace(deadline=0).is_over(1 << 62)
