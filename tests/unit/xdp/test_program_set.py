"""The control word as a number. Everything else in xdp/program_set.py needs the kernel; tests/kernel tests it."""

from __future__ import annotations

import pytest

from geodrop.xdp.program_set import ControlWord


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
