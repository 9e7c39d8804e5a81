"""What a fill consists of, and in which order; what comes of it in the kernel is in tests/kernel."""

from __future__ import annotations

import pytest

from geodrop.engine.api import Difference
from geodrop.errors import ApplyError
from geodrop.nftables import render
from geodrop.nftables.transactions import fill, raise_any
from tests.support.programs import EVERYTHING, NOW

BUILT = render.build(EVERYTHING, 7, ["eth0"], NOW)


def test_what_is_named_comes_first() -> None:
    """The kernel takes no rule or element that names what is not there yet."""
    whats = [request.what for request in fill(BUILT, None, {})]
    firsts = [
        next(at for at, what in enumerate(whats) if word in what) for word in ("table", "counter", "chain", "map")
    ]
    assert firsts == sorted(firsts)
    last_chain = max(at for at, what in enumerate(whats) if what.startswith("create chain"))
    first_rule = min(at for at, what in enumerate(whats) if "rule" in what)
    assert last_chain < first_rule


def test_totals_go_on_also_where_nothing_counts_any_more() -> None:
    """A counter that only an older generation had comes back with its total; what somebody else made does not."""
    lost = {"api.CN.ipv4.dropped": (3, 120), "gone.RU.ipv6.dropped": (7, 420), "somebody's": (1, 1)}
    whats = [request.what for request in fill(BUILT, None, lost)]
    assert "create counter gone.RU.ipv6.dropped" in whats
    assert "create counter somebody's" not in whats
    assert whats.count("create counter api.CN.ipv4.dropped") == 1


def test_the_first_difference_is_named() -> None:
    """With how many more there are; none is no failure."""
    raise_any([])
    found = [Difference("chain one", "a rule", "nothing"), Difference("chain two", "a rule", "nothing")]
    with pytest.raises(ApplyError, match=r"in chain one: expected a rule, found nothing \(1 more differences\)"):
        raise_any(found)
