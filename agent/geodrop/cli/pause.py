# SPDX-License-Identifier: Apache-2.0
"""`geodrop pause`: drop nothing for a while, and go on counting what would have been dropped."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from geodrop.cli.change import change
from geodrop.cli.numbers import add_why, duration
from geodrop.state.intent import FOREVER

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pause`."""
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="TIME",
        help="end by itself after this long, such as 30m or 2h (default: not before `geodrop resume`)",
    )
    add_why(parser, "status and history")


def run(args: argparse.Namespace) -> int:
    """Pause and print until when."""
    until = end(args.duration, time.time())

    def here(config: Config) -> Outcome:
        from geodrop.operations.change import by_me  # noqa: PLC0415 - see cli/change.py
        from geodrop.operations.pause import pause  # noqa: PLC0415

        return pause(config, by_me("pause", args.why), until)

    return change("pause", {"until": until, "why": args.why}, args.config, here)


def end(seconds: int | None, now: float) -> int:
    """Return when a pause of `seconds` ends, in whole seconds since the epoch, rounded up."""
    return FOREVER if seconds is None else min(math.ceil(now) + seconds, FOREVER)
