"""Moments and days as text: always UTC, as ISO 8601 writes it."""

from __future__ import annotations

import time


def moment(seconds: float) -> str:
    """Seconds since the epoch as `2024-07-09T00:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def day(seconds: float) -> str:
    """Seconds since the epoch as `2024-07-09`."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def soon(seconds: float, now: float) -> str:
    """Return a moment of the next 20 hours as `16:05:12Z`, any other one with its day. Both are since the epoch."""
    whole = moment(seconds)
    return whole.partition("T")[2] if 0 <= seconds - now < 20 * 3600 else whole
