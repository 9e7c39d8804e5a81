# SPDX-License-Identifier: Apache-2.0
"""Pairs of address and hour are told apart by one number."""

from __future__ import annotations

import numpy as np

from geodrop.simulate.effect import visits


def test_visits() -> None:
    """The hour stands in front of the whole address, the highest one too."""
    found = visits(np.array([0, 2**32 - 1], np.uint32), np.array([3, 100_000]))
    assert found.dtype == np.uint64
    assert found.tolist() == [3 << 32, (100_000 << 32) + 2**32 - 1]
