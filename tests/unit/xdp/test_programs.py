"""The control word as a number; the rest of programs.py is about the kernel and tested with the engine there."""

from __future__ import annotations

import pytest

from geodrop.xdp.programs import Word


@pytest.mark.parametrize("word", [Word(), Word(1, 0, 1), Word(1, 1, 0), Word((1 << 40) + 5, 1, 1)])
def test_a_word_survives_packing(word: Word) -> None:
    """Generation and both slots come back."""
    assert Word.unpack(word.pack()) == word


def test_nothing_in_force_is_zero() -> None:
    """A map that nobody wrote to judges nothing."""
    assert Word().pack() == 0
    assert Word.unpack(0).generation == 0
    assert Word(1).pack() != 0
