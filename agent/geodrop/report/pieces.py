"""Reading that takes long, cut into pieces: whoever has something urgent waits for one piece and not for all.

A generator that yields after each piece and returns what was read.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Pieces = Generator[None, None, T]


def step(work: Pieces[T]) -> tuple[T] | None:
    """Do the next piece; gives what was read once all of it is."""
    try:
        next(work)
    except StopIteration as end:
        return (end.value,)
    return None


def whole(work: Pieces[T]) -> T:
    """Do all of it."""
    while (done := step(work)) is None:
        pass
    return done[0]
