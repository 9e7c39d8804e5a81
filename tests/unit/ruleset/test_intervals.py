# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from geodrop.ruleset import intervals


@given(st.sampled_from([4, 6]), st.data())
def test_ends_come_back(family: int, data: st.DataObject) -> None:
    """The end of a family is written as zeroes, and its last address is read back from them."""
    width = intervals.WIDTH[family]
    highest = intervals.size(width) - 1
    for last in (highest, data.draw(st.integers(0, highest))):
        end = intervals.packed(last + 1, width)
        assert len(end) == width
        assert intervals.last_before(end) == last
    assert intervals.packed(highest + 1, width) == bytes(width)


def test_side_by_side() -> None:
    """There is a piece between all bounds where at least one side has a value."""
    one, other = [(1, 4, "a"), (6, 8, "b")], [(4, 7, "c")]
    pieces = list(intervals.side_by_side(one, other))
    assert pieces == [(1, 4, "a", None), (4, 6, None, "c"), (6, 7, "b", "c"), (7, 8, "b", None)]
    assert list(intervals.joined((start, behind, what) for start, behind, _, what in pieces)) == [
        (1, 4, None),
        (4, 7, "c"),
        (7, 8, None),
    ]
