# SPDX-License-Identifier: Apache-2.0
"""Wait for a condition: no test depends on the speed of the machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 60.0
"""Seconds after which a condition counts as never coming true."""

PAUSE = 0.01

LASTING = (1, 4, 16)
"""Seconds of a window that is tried: a longer one if a slow machine has not looked before it was over."""


def until(true: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Return once the condition is true. Raises AssertionError if it does not come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not true within {seconds:g} s"
        time.sleep(PAUSE)
