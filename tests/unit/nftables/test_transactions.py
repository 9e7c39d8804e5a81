# SPDX-License-Identifier: Apache-2.0
"""The messages of a fill and their order; their effect in the kernel is tested in tests/kernel."""

from __future__ import annotations

import pytest

from geodrop.engine.api import Difference
from geodrop.errors import ApplyError
from geodrop.nftables import render
from geodrop.nftables.transactions import fill, raise_any
from tests.support.programs import EVERYTHING, NOW

BUILT = render.build(EVERYTHING, 7, ["eth0"], NOW)


def test_what_is_named_comes_first() -> None:
    """The kernel refuses a rule or element that names something that does not exist yet."""
    whats = [request.what for request in fill([BUILT], None, {})]
    firsts = [
        next(at for at, what in enumerate(whats) if word in what) for word in ("table", "counter", "chain", "map")
    ]
    assert firsts == sorted(firsts)
    last_chain = max(at for at, what in enumerate(whats) if what.startswith("create chain"))
    first_rule = min(at for at, what in enumerate(whats) if "rule" in what)
    assert last_chain < first_rule


def test_totals_go_on_also_where_nothing_counts_any_more() -> None:
    """A counter that only an older generation had continues with its total; a foreign counter does not."""
    lost = {"api.CN.ipv4.dropped": (3, 120), "gone.RU.ipv6.dropped": (7, 420), "foreign": (1, 1)}
    whats = [request.what for request in fill([BUILT], None, lost)]
    assert "create counter gone.RU.ipv6.dropped" in whats
    assert "create counter foreign" not in whats
    assert whats.count("create counter api.CN.ipv4.dropped") == 1


def test_the_first_difference_is_named() -> None:
    """The error counts the other differences; without differences there is no error."""
    raise_any([])
    found = [Difference("chain one", "a rule", "nothing"), Difference("chain two", "a rule", "nothing")]
    with pytest.raises(ApplyError, match=r"in chain one: expected a rule, found nothing \(1 more differences\)"):
        raise_any(found)
