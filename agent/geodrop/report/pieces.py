# SPDX-License-Identifier: Apache-2.0
"""Long reads cut into pieces, so that urgent work waits for one piece and not for the whole read.

Such a read is a generator that yields after each piece and returns the result.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Pieces = Generator[None, None, T]


def step(work: Pieces[T]) -> tuple[T] | None:
    """Do the next piece; return the result in a tuple after the last one, else None."""
    try:
        next(work)
    except StopIteration as end:
        return (end.value,)
    return None


def whole(work: Pieces[T]) -> T:
    """Do all pieces and return the result."""
    while (done := step(work)) is None:
        pass
    return done[0]
