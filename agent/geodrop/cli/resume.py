"""`geodrop resume`: end a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.cli.change import change

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `resume` takes no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Resume and print that; it is no failure if there is no pause."""

    def here(config: Config) -> Outcome:
        from geodrop.operations.change import by_me  # noqa: PLC0415 - see cli/change.py
        from geodrop.operations.pause import resume  # noqa: PLC0415

        return resume(config, by_me("resume"))

    return change("resume", {}, args.config, here)
