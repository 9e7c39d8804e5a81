# SPDX-License-Identifier: Apache-2.0
"""Distinct numbers are counted exactly up to a bound, and never more than it."""

from __future__ import annotations

import numpy as np

from geodrop.simulate import distinct
from geodrop.simulate.distinct import Distinct, counted


def test_counted() -> None:
    """Values ascend, each with its count."""
    values, counts = counted(np.array([5, 1, 5, 9, 1, 5], np.uint32))
    assert (values.tolist(), counts.tolist()) == ([1, 5, 9], [2, 3, 1])
    assert [len(one) for one in counted(np.zeros(0, np.uint64))] == [0, 0]


def test_many_portions() -> None:
    """What is merged in portions is what a set holds."""
    random = np.random.default_rng(7)
    portions = [random.integers(0, 300_000, distinct.PORTION // 3, dtype=np.uint32) for _ in range(12)]
    found = Distinct(np.uint32, 1_000_000)
    for portion in portions:
        found.add(portion)
    assert found.values().tolist() == sorted(set(np.concatenate(portions).tolist()))
    assert not found.full


def test_full() -> None:
    """Beyond the bound the rest is left out, and that is told."""
    found = Distinct(np.uint32, 10)
    found.add(np.arange(10, dtype=np.uint32))
    assert (len(found.values()), found.full) == (10, False)
    found.add(np.arange(5, 15, dtype=np.uint32))
    assert (len(found.values()), found.full) == (10, True)
    found.add(np.arange(100, dtype=np.uint32))
    assert len(found.values()) == 10
