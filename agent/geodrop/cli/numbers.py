# SPDX-License-Identifier: Apache-2.0
"""Parse numbers, durations and reasons on the command line. argparse turns their errors into usage errors."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime

from geodrop.state.names import MAX_WHY
from geodrop.state.unconfirmed import LONGEST, SHORTEST

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DIGEST = re.compile(r"[0-9a-f]{12,64}")
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


def confirm_within(text: str) -> int:
    """Parse how long a load waits to be confirmed; return seconds."""
    seconds = duration(text)
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is too {'short' if seconds < SHORTEST else 'long'}: 10s to 24h")
    return seconds


def add_confirmation(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a load that may have to be confirmed."""
    parser.add_argument(
        "--confirm-within",
        type=confirm_within,
        metavar="TIME",
        help="the kernel goes back by itself without `geodrop confirm` within this time: 10s to 24h",
    )
    add_why(parser)


def add_why(parser: argparse.ArgumentParser, where: str = "the history") -> None:
    """Add the reason of a change; `where` it is shown."""
    parser.add_argument("--why", type=reason, default="", metavar="TEXT", help=f"the reason, for {where}")


def moment(text: str) -> float:
    """Parse a day or a time with its zone; return seconds since the epoch. A day begins at midnight UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found and len(text) == len("2024-07-09"):
        found = found.replace(tzinfo=UTC)
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write for instance 2024-07-09 or 2024-07-09T00:00:00Z")
    return found.timestamp()


def digest(text: str) -> str:
    """Parse the beginning of a digest."""
    if not _DIGEST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no digest; write its first 12 digits, as `status` shows them")
    return text


def reason(text: str) -> str:
    """Check the length of a reason for the history."""
    if len(text) > MAX_WHY:
        raise argparse.ArgumentTypeError(f"{len(text):,} characters are too many; write at most {MAX_WHY:,}")
    return text
