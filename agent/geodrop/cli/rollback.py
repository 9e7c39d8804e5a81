"""`geodrop rollback`: go back to a policy that was in force before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.cli.numbers import positive, reason
from geodrop.control.client import ask
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rollback`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("count", nargs="?", type=positive, metavar="N", help="how many policies back (default: 1)")
    which.add_argument(
        "--generation", type=positive, metavar="G", help="to the policy that was generation G, see `geodrop history`"
    )
    parser.add_argument("--why", type=reason, default="", metavar="TEXT", help="the reason, for the history")


def run(args: argparse.Namespace) -> int:
    """Roll back and print to what."""
    back = args.count or 1
    answer = ask("rollback", {"back": back, "generation": args.generation, "why": args.why})
    if answer:
        text, warnings = answer["text"], answer["warnings"]
    else:
        text, warnings = _without_daemon(args.config, back, args.generation, args.why)
    messages.say(shown(text))
    for warning in warnings:
        messages.warning(warning)
    return 0


def _without_daemon(config_path: str | None, back: int, generation: int | None, why: str) -> tuple[str, Sequence[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.operations.change import by_me  # noqa: PLC0415
    from geodrop.operations.regions import warnings_of_regions  # noqa: PLC0415
    from geodrop.operations.rollback import roll_back  # noqa: PLC0415
    from geodrop.state.lock import exclusive  # noqa: PLC0415

    config = config_or_assumed(config_path)
    with exclusive():
        done = roll_back(config, by_me("rollback", why), back, generation)
        return done.text, (*done.warnings, *warnings_of_regions(config))
