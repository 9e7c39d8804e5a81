# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator

from geodrop.report.pieces import Pieces, step, whole


def reading(done: list[int], count: int) -> Pieces[int]:
    """Return a reading of `count` pieces, each noted in `done`."""
    for number in range(count):
        done.append(number)
        yield
    return len(done)


def test_piece_by_piece() -> None:
    """A step does one piece; the last one returns the result, which may be empty."""
    done: list[int] = []
    work = reading(done, 2)
    assert step(work) is None
    assert done == [0]
    assert step(work) is None
    assert step(work) == (2,)

    def nothing() -> Pieces[None]:
        yield from ()

    assert step(nothing()) == (None,)


def test_whole() -> None:
    """`whole` does all pieces at once."""
    assert whole(reading([], 5)) == 5
    assert isinstance(reading([], 1), Iterator)
