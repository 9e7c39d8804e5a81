# SPDX-License-Identifier: Apache-2.0
"""`geodrop resume`: end a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.cli.change import change
from geodrop.cli.numbers import add_why

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `resume`."""
    add_why(parser)


def run(args: argparse.Namespace) -> int:
    """Resume and print that; it is no failure if there is no pause."""

    def here(config: Config) -> Outcome:
        from geodrop.operations.change import by_me  # noqa: PLC0415 - see cli/change.py
        from geodrop.operations.pause import resume  # noqa: PLC0415

        return resume(config, by_me("resume", args.why))

    return change("resume", {"why": args.why} if args.why else {}, args.config, here)
