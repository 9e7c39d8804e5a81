# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import pytest

from geodrop import utc


def test_moments_carry_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own is; fractions are cut off."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert utc.moment(1_720_483_200.9) == "2024-07-09T00:00:00Z"
        assert utc.day(1_720_483_199) == "2024-07-08"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_moment_is_read_back() -> None:
    """`epoch` reads what `moment` writes, and nothing else."""
    assert utc.epoch(utc.moment(1_720_483_200)) == 1_720_483_200


@pytest.mark.parametrize("text", ["", "2024-07-09", "2024-07-09T00:00:00+00", "2024-13-09T00:00:00Z", "x" * 20])
def test_no_moment(text: str) -> None:
    """Neither a day, nor another form, nor a date that does not exist."""
    with pytest.raises(ValueError, match=r"."):
        utc.epoch(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.0834, "0.0834 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3_661, "1 h 1 min"), (86_400, "1 d 0 h")],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    """The two largest units are told."""
    assert utc.span(seconds) == text
