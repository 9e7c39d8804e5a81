# SPDX-License-Identifier: Apache-2.0
"""The short form of `make test-undo`, and a test that it finds an undo that is late, early or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lockouts import ENGINES, Lockout, lanes

if TYPE_CHECKING:
    from pathlib import Path


def test_the_kernel_lets_an_operator_in_again(kernel: None, tmp_path: Path) -> None:
    """On each engine, with the daemon killed in the window: no packet passes before the deadline, every one after."""
    del kernel
    done = lanes(tmp_path, [(engine, [second]) for engine, second in zip(ENGINES, (2, 7), strict=True)])
    assert [one.engine for one in done] == list(ENGINES)
    assert [one for one in done if not one.is_good] == []


@pytest.mark.parametrize(
    "bad",
    [Lockout("xdp", 1, 0, 9, 0.2), Lockout("xdp", 1, 0, 100, float("inf")), Lockout("xdp", 1, 1, 0, -0.2)],
    ids=["late", "missing", "early"],
)
def test_what_is_bad(bad: Lockout) -> None:
    """An undo that came too late, not at all, or too soon."""
    assert not bad.is_good
    assert Lockout("xdp", 1, 0, 0, 0.004).is_good
