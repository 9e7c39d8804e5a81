# SPDX-License-Identifier: Apache-2.0
"""The control map: what each packet reads first. Packing, and which generation it puts in force at a moment. Pure."""

from __future__ import annotations

from typing import NamedTuple

from geodrop.xdp import layout as lay

NOT_SET = 1 << 63
"""The deadline of a window that is staged: it is known when it is switched to."""


class ControlWord(NamedTuple):
    """The fields of the control word. Generation 0 means that nothing is in force."""

    generation: int = 0
    tables: int = 0
    policy: int = 0

    @classmethod
    def unpack(cls, word: int) -> ControlWord:
        """Unpack the number in the map."""
        if not word & lay.CONTROL_IN_FORCE:
            return cls()
        return cls(
            word >> lay.CONTROL_GENERATION_SHIFT,
            int(word & lay.CONTROL_TABLES != 0),
            int(word & lay.CONTROL_POLICY != 0),
        )

    def pack(self) -> int:
        """Return the number in the map."""
        if not self.generation:
            return 0
        slots = lay.CONTROL_TABLES * self.tables | lay.CONTROL_POLICY * self.policy
        return self.generation << lay.CONTROL_GENERATION_SHIFT | lay.CONTROL_IN_FORCE | slots

    @property
    def slots(self) -> tuple[tuple[str, int], ...]:
        """The slots that it leads to, each with its kind."""
        return ("tables", self.tables), ("policy", self.policy)


class Control(NamedTuple):
    """The whole map. If `word` is not confirmed, it holds until `deadline`, and `previous` from then on.

    `deadline` is in nanoseconds of the kernel's CLOCK_MONOTONIC; 0: it is confirmed.
    """

    word: ControlWord = ControlWord()
    deadline: int = 0
    previous: ControlWord = ControlWord()

    @classmethod
    def read(cls, held: lay.ControlLayout) -> Control:
        """Unpack the map."""
        word = ControlWord.unpack(held.word)
        if not held.word & lay.CONTROL_WINDOW:
            return cls(word)
        window = held.window[slot_of(held.word)]
        return cls(word, window.deadline, ControlWord.unpack(window.previous))

    def is_over(self, now: int) -> bool:
        """Tell whether the window is over, at a moment of CLOCK_MONOTONIC in nanoseconds."""
        return 0 < self.deadline <= now

    def at(self, now: int) -> ControlWord:
        """Return the word that packets go by at a moment, as bpf/geodrop.bpf.c decides it."""
        return self.previous if self.is_over(now) else self.word

    @property
    def words(self) -> tuple[ControlWord, ...]:
        """The words of the generations that packets are judged by, now or after the window."""
        both = (self.word, self.previous) if self.deadline else (self.word,)
        return tuple(word for word in both if word.generation)

    @property
    def policies(self) -> set[int]:
        """The policy slots that packets may read."""
        return {word.policy for word in self.words}

    @property
    def tables(self) -> set[int]:
        """The slots of tables that packets may read."""
        return {word.tables for word in self.words}


def slot_of(word: int) -> int:
    """Return which of the two windows a word that is not confirmed goes by."""
    return int(word & lay.CONTROL_WINDOW_SLOT != 0)
