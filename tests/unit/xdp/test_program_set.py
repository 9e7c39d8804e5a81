"""The control word as a number; the rest of xdp/program_set.py is about the kernel and tested with the engine there."""

from __future__ import annotations

import pytest

from geodrop.xdp.program_set import ControlWord


@pytest.mark.parametrize(
    "word", [ControlWord(), ControlWord(1, 0, 1), ControlWord(1, 1, 0), ControlWord((1 << 40) + 5, 1, 1)]
)
def test_a_word_survives_packing(word: ControlWord) -> None:
    """Generation and both slots come back."""
    assert ControlWord.unpack(word.pack()) == word


def test_nothing_in_force_is_zero() -> None:
    """A map that nobody wrote to judges nothing."""
    assert ControlWord().pack() == 0
    assert ControlWord.unpack(0).generation == 0
    assert ControlWord(1).pack() != 0
