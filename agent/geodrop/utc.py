# SPDX-License-Identifier: Apache-2.0
"""Moments, days and spans of time as text: moments and days always UTC, as ISO 8601 writes it."""

from __future__ import annotations

import time

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def moment(seconds: float) -> str:
    """Seconds since the epoch as `2024-07-09T00:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def epoch(text: str) -> float:
    """Return seconds since the epoch of a text that `moment` wrote. Raises ValueError for any other text."""
    from datetime import datetime  # noqa: PLC0415 - most commands only write moments

    if len(text) != len("2024-07-09T00:00:00Z") or not text.endswith("Z"):
        raise ValueError(f"{text[:40]!r} is no moment such as 2024-07-09T00:00:00Z")
    return datetime.fromisoformat(text).timestamp()


def day(seconds: float) -> str:
    """Seconds since the epoch as `2024-07-09`."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def soon(seconds: float, now: float) -> str:
    """Return a moment of the next 20 hours as `16:05:12Z`, any other one with its day. Both are since the epoch."""
    whole = moment(seconds)
    return whole.partition("T")[2] if 0 <= seconds - now < 20 * 3600 else whole


def span(seconds: float) -> str:
    """Return a time in its two largest units, such as 331 d 4 h; below a minute in seconds."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    rest, parts = round(seconds), list[str]()
    for size, unit in UNITS:
        number, rest = divmod(rest, size)
        if number or parts:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
