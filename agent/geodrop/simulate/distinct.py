# SPDX-License-Identifier: Apache-2.0
"""Count distinct numbers in little memory: a sorted array, into which new ones are merged from time to time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

PORTION = 1 << 17
"""Numbers that wait to be merged, at the least."""


def counted(numbers: Numbers) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Return the distinct numbers in ascending order, and how often each comes.

    numpy.unique does the same, and imports numpy.ma on its first call, which the compile child cannot.
    """
    if not len(numbers):
        return numbers, np.zeros(0, np.int64)
    ordered = np.sort(numbers)
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    return ordered[starts], np.diff(starts, append=len(ordered))


class Distinct:
    """A set of whole numbers, with room for `most` of them; once it is `full`, further ones are left out."""

    def __init__(self, dtype: npt.DTypeLike, most: int) -> None:
        self._most = most
        self._values: Numbers = np.zeros(0, dtype)
        self._waiting: list[Numbers] = []
        self._count = 0
        self.full = False

    def add(self, numbers: Numbers) -> None:
        """Add numbers, which may be there already."""
        if self.full or not len(numbers):
            return
        self._waiting.append(numbers.astype(self._values.dtype))
        self._count += len(numbers)
        # Merging sorts everything, so it waits until that is worth it.
        if self._count > max(PORTION, len(self._values)):
            self._merge()

    def values(self) -> Numbers:
        """Return the numbers in ascending order."""
        self._merge()
        return self._values

    def _merge(self) -> None:
        if self._waiting:
            self._values = counted(np.concatenate([self._values, *self._waiting]))[0]
            self._waiting.clear()
            self._count = 0
            if len(self._values) > self._most:
                self.full = True
                self._values = self._values[: self._most].copy()
