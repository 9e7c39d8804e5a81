"""Moments and days as text: always UTC, as ISO 8601 writes it."""

from __future__ import annotations

import time


def moment(seconds: float) -> str:
    """Seconds since the epoch as `2024-07-09T00:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def day(seconds: float) -> str:
    """Seconds since the epoch as `2024-07-09`."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
