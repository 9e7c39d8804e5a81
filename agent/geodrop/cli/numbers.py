"""Numbers, durations and reasons on the command line. What they raise argparse turns into a usage error."""

from __future__ import annotations

import argparse
import re

from geodrop.state.history import MAX_WHY

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhdw])")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write 1 or more")
    return int(text)


def duration(text: str) -> int:
    """Seconds from a duration such as 90s, 30m, 2h, 3d or 1w."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write for instance 90s, 30m, 2h, 3d or 1w")
    return int(found[1]) * SECONDS[found[2]]


def reason(text: str) -> str:
    """What a person writes for the history."""
    if len(text) > MAX_WHY:
        raise argparse.ArgumentTypeError(f"{len(text):,} characters are too many; write at most {MAX_WHY:,}")
    return text
