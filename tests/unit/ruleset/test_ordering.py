# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from geodrop.ruleset.ordering import all_below, below


@pytest.mark.parametrize(("width", "order"), [(4, "little"), (4, "big"), (16, "big")])
@pytest.mark.parametrize("count", [1, 2, 5, 4_096, 4_097, 8_200])
def test_below_is_what_a_loop_finds(width: int, order: Any, count: int) -> None:  # noqa: ANN401
    """`below` agrees with a loop at each place of a chunk and on its edges, for the least and the greatest numbers."""

    def packed(numbers: list[int]) -> memoryview:
        return memoryview(b"".join(one.to_bytes(width, order) for one in numbers))

    most = (1 << 8 * width) - 1
    low = [most // (count + 1) * at for at in range(count)]
    high = [one + 1 for one in low]
    assert below(packed(low), packed(high), width, order)
    assert not below(packed(low), packed(low), width, order)
    assert below(packed(low), packed(low), width, order, strictly=False)
    for at in {0, 1, count // 2, count - 1} & set(range(count)):
        for one, other in ((5, 5), (6, 5), (most, 0), (most, most), (0, 0)):
            before, after = [*low[:at], one, *low[at + 1 :]], [*high[:at], other, *high[at + 1 :]]
            assert not below(packed(before), packed(after), width, order)
            assert below(packed(before), packed(after), width, order, strictly=False) == (one == other)
        before, after = [*low[:at], 0, *low[at + 1 :]], [*high[:at], most, *high[at + 1 :]]
        assert below(packed(before), packed(after), width, order)


@pytest.mark.parametrize("limit", [1, 300, 0xD800, 1 << 16])
def test_all_below_is_what_a_loop_finds(limit: int) -> None:
    """`all_below` agrees with a loop around its limit, below and above the surrogates of UTF-16."""
    for highest in (0, limit - 1, limit, 0xFFFF):
        section = memoryview(b"".join(one.to_bytes(2, "little") for one in (0, min(highest, 0xFFFF), 0)))
        assert all_below(limit, section) == (min(highest, 0xFFFF) < limit)
