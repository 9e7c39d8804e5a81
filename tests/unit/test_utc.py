from __future__ import annotations

import time
from typing import TYPE_CHECKING

from geodrop import utc

if TYPE_CHECKING:
    import pytest


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
