# SPDX-License-Identifier: Apache-2.0
"""The short form of `make soak`, and a test that it finds leaks."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tests.soak import Soaked, Things, slope, soak, usual_slope

if TYPE_CHECKING:
    from pathlib import Path

RELOADS = 40
MAX_GROWTH = 40_000.0
"""Bytes of memory per reload: with so few reloads, caches and free lists that still fill up look like growth."""


def test_reloads_leave_nothing_behind(kernel: None, tmp_path: Path) -> None:
    """Descriptors, processes, kernel objects and files do not grow, nor does memory much."""
    del kernel
    done = soak(tmp_path, RELOADS)
    assert done.complaints() == []
    assert usual_slope(done.samples) < MAX_GROWTH
    assert any(name.startswith("pin ") for name in done.after.kernel), "xdp was soaked"
    assert "map g-api.ipv4" in done.after.kernel, "nftables was soaked"


def test_what_grows_is_told() -> None:
    """Growth of each kind is reported, by name if it has one; anything that disappeared is not."""
    before = Things(9, 1, ("table geodrop", "chain g"), ("intent.json",))
    after = Things(10, 2, ("table geodrop", "map g1"), ("intent.json", "rulesets/new"))
    assert Soaked(before, after, (), 1.0).complaints() == [
        "descriptors: 9 before, 10 after",
        "children: 1 before, 2 after",
        "kernel: map g1 was not there before",
        "files: rulesets/new was not there before",
    ]
    assert Soaked(after, dataclasses.replace(before, kernel=()), (), 1.0).complaints() == []


def test_slope() -> None:
    """Growth of memory is told apart from noise."""
    assert slope([(0, 100.0), (1, 110.0), (2, 120.0)]) == 10.0
    assert slope([(0, 5.0), (1, 9.0), (2, 5.0)]) == 0.0


def test_usual_slope() -> None:
    """Memory lost with each reload is reported; a single jump, or a value that goes up and down, is not."""
    lost, once, noise = 100_000.0, 5_000_000.0, (3.0, -3.0)
    leak = [(number, lost * number + once * (number > 20) + noise[number % 2]) for number in range(RELOADS)]
    assert usual_slope(leak) > MAX_GROWTH
    assert usual_slope([(number, size - lost * number) for number, size in leak]) < MAX_GROWTH
