# SPDX-License-Identifier: Apache-2.0
"""`geodrop rollback`: go back to a policy that was in force before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.cli.change import change
from geodrop.cli.numbers import add_why, positive

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rollback`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("count", nargs="?", type=positive, metavar="N", help="how many policies back (default: 1)")
    which.add_argument(
        "--generation", type=positive, metavar="G", help="to the policy that was generation G, see `geodrop history`"
    )
    add_why(parser)


def run(args: argparse.Namespace) -> int:
    """Roll back and print to what."""
    back = args.count or 1

    def here(config: Config) -> Outcome:
        from geodrop.operations.change import by_me  # noqa: PLC0415 - see cli/change.py
        from geodrop.operations.rollback import roll_back  # noqa: PLC0415

        return roll_back(config, by_me("rollback", args.why), back, args.generation)

    return change("rollback", {"back": back, "generation": args.generation, "why": args.why}, args.config, here)
