# SPDX-License-Identifier: Apache-2.0
"""`geodrop confirm`: keep what was loaded with --confirm-within, before the kernel goes back by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.cli.change import change
from geodrop.cli.numbers import add_why, digest

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `confirm`."""
    parser.add_argument(
        "digest",
        nargs="?",
        type=digest,
        metavar="DIGEST",
        help="the ruleset that is meant, by its first 12 digits or more (default: the one that waits)",
    )
    add_why(parser)


def run(args: argparse.Namespace) -> int:
    """Confirm and print what stays."""
    wanted = args.digest or ""

    def here(config: Config) -> Outcome:
        from geodrop.operations.change import by_me  # noqa: PLC0415 - see cli/change.py
        from geodrop.operations.confirm import confirm  # noqa: PLC0415

        return confirm(config, by_me("confirm", args.why), wanted)

    return change("confirm", {"digest": wanted, "why": args.why}, args.config, here)
