"""`geodrop pause`: drop nothing for a while, and go on counting what would have been dropped."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.cli.numbers import duration, reason
from geodrop.control.client import ask
from geodrop.state.store import FOREVER
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pause`."""
    parser.add_argument(
        "--for",
        dest="duration",
        type=duration,
        metavar="TIME",
        help="end by itself after this long, such as 30m or 2h (default: not before `geodrop resume`)",
    )
    parser.add_argument("--why", type=reason, default="", metavar="TEXT", help="the reason, for status and history")


def run(args: argparse.Namespace) -> int:
    """Pause and print until when."""
    until = end(args.duration, time.time())
    answer = ask("pause", {"until": until, "why": args.why})
    text, warnings = (answer["text"], answer["warnings"]) if answer else _without_daemon(args.config, until, args.why)
    messages.say(shown(text))
    for warning in warnings:
        messages.warning(warning)
    return 0


def end(seconds: int | None, now: float) -> int:
    """Return when a pause of `seconds` ends, in whole seconds since the epoch, rounded up."""
    return FOREVER if seconds is None else min(math.ceil(now) + seconds, FOREVER)


def _without_daemon(config_path: str | None, until: int, why: str) -> tuple[str, Sequence[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.operations.change import by_me  # noqa: PLC0415
    from geodrop.operations.pause import pause  # noqa: PLC0415
    from geodrop.operations.regions import warnings_of_regions  # noqa: PLC0415
    from geodrop.state.lock import exclusive  # noqa: PLC0415

    config = config_or_assumed(config_path)
    with exclusive():
        done = pause(config, by_me("pause", why), until)
        return done.text, (*done.warnings, *warnings_of_regions(config))
