"""Parse numbers, durations and reasons on the command line. argparse turns their errors into usage errors."""

from __future__ import annotations

import argparse
import re

from geodrop.state.history import MAX_WHY

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhdw])")


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write 1 or more")
    return int(text)


def duration(text: str) -> int:
    """Parse a duration such as 90s, 30m, 2h, 3d or 1w; return seconds."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write for instance 90s, 30m, 2h, 3d or 1w")
    return int(found[1]) * SECONDS[found[2]]


def reason(text: str) -> str:
    """Check the length of a reason for the history."""
    if len(text) > MAX_WHY:
        raise argparse.ArgumentTypeError(f"{len(text):,} characters are too many; write at most {MAX_WHY:,}")
    return text
