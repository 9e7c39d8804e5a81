# SPDX-License-Identifier: Apache-2.0
"""Repairs that do not last."""

from __future__ import annotations

from geodrop.daemon.watch.lasting import FIRST, LONGEST, Lasting

WHAT = "chain other: expected nothing, found a chain"


def test_ever_more_seldom() -> None:
    """The pause doubles each time, up to an hour: a few dozen tries in a day instead of thousands."""
    lasting, now, delays = Lasting(), 0.0, []
    while now < 86_400:
        delays.append(lasting.tried(WHAT, "nft (process 7)", now))
        now += delays[-1]
    assert delays[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert delays[-1] == LONGEST
    assert len(delays) < 40


def test_the_number_of_a_generation_makes_no_difference() -> None:
    """Each try makes a new generation; the same difference in it counts as the same."""
    lasting = Lasting()
    lasting.tried("chain g41-api, rule 1: expected drop, found accept", "another program", 0.0)
    assert lasting.tried("chain g42-api, rule 1: expected drop, found accept", "another program", 0.0) == 2 * FIRST
    assert "g42-api" in lasting.problems()[0]


def test_it_is_said_until_it_is_gone() -> None:
    """The line says what, who, how often, when the next try is, and where to look; another difference starts over."""
    lasting = Lasting()
    assert lasting.problems() == []
    lasting.tried(WHAT, "nft (process 7)", 1_700_000_000.0)
    lasting.tried(WHAT, "another program", 1_700_000_000.0)
    [problem] = lasting.problems()
    assert problem.startswith(f"repaired 2 times, and there again: {WHAT}; last changed by nft (process 7)")
    assert "2023-11-14T22:13:22Z" in problem
    assert lasting.tried("something else", "cron (process 9)", 0.0) == FIRST
    assert "once" in lasting.problems()[0]
    lasting.gone()
    assert lasting.problems() == []
