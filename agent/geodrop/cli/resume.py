"""`geodrop resume`: end a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.cli.numbers import reason
from geodrop.control.client import ask
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `resume`."""
    parser.add_argument("--why", type=reason, default="", metavar="TEXT", help="the reason, for the history")


def run(args: argparse.Namespace) -> int:
    """Resume and print that; it is no failure if there is no pause."""
    answer = ask("resume", {"why": args.why} if args.why else None)
    text, warnings = (answer["text"], answer["warnings"]) if answer else _without_daemon(args.config, args.why)
    messages.say(shown(text))
    for warning in warnings:
        messages.warning(warning)
    return 0


def _without_daemon(config_path: str | None, why: str) -> tuple[str, Sequence[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.operations.change import by_me  # noqa: PLC0415
    from geodrop.operations.pause import resume  # noqa: PLC0415
    from geodrop.operations.regions import warnings_of_regions  # noqa: PLC0415
    from geodrop.state.lock import exclusive  # noqa: PLC0415

    config = config_or_assumed(config_path)
    with exclusive():
        done = resume(config, by_me("resume", why))
        return done.text, (*done.warnings, *warnings_of_regions(config))
