# SPDX-License-Identifier: Apache-2.0
"""The open descriptors of this process, for tests that show that none is left open."""

from __future__ import annotations

import gc
import os


def open_descriptors() -> set[str]:
    """Return the numbers of the open descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def left_open(before: set[str]) -> set[str]:
    """Return the descriptors that are open now and were not before.

    Garbage of earlier tests may be collected meanwhile, which closes some of those before. What only waits to be
    collected is not left open.
    """
    if open_descriptors() - before:
        gc.collect()
    return open_descriptors() - before
