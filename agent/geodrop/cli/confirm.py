"""`geodrop confirm`: keep what was loaded with --confirm-within, before the kernel goes back by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.cli.numbers import digest, reason
from geodrop.control.client import ask
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `confirm`."""
    parser.add_argument(
        "digest",
        nargs="?",
        type=digest,
        metavar="DIGEST",
        help="the ruleset that is meant, by its first 12 digits or more (default: the one that waits)",
    )
    parser.add_argument("--why", type=reason, default="", metavar="TEXT", help="the reason, for the history")


def run(args: argparse.Namespace) -> int:
    """Confirm and print what stays."""
    wanted = args.digest or ""
    answer = ask("confirm", {"digest": wanted, "why": args.why})
    if answer:
        text, warnings = answer["text"], answer["warnings"]
    else:
        text, warnings = _without_daemon(args.config, wanted, args.why)
    messages.say(shown(text))
    for warning in warnings:
        messages.warning(warning)
    return 0


def _without_daemon(config_path: str | None, wanted: str, why: str) -> tuple[str, Sequence[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.operations.change import by_me  # noqa: PLC0415
    from geodrop.operations.confirm import confirm  # noqa: PLC0415
    from geodrop.operations.regions import warnings_of_regions  # noqa: PLC0415
    from geodrop.state.lock import exclusive  # noqa: PLC0415

    config = config_or_assumed(config_path)
    with exclusive():
        done = confirm(config, by_me("confirm", why), wanted)
        return done.text, (*done.warnings, *warnings_of_regions(config))
