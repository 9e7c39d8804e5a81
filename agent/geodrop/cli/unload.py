# SPDX-License-Identifier: Apache-2.0
"""`geodrop unload`: remove everything of ours from the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.cli.numbers import add_why
from geodrop.control.client import ask

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `unload`."""
    add_why(parser)


def run(args: argparse.Namespace) -> int:
    """Unload and print that; it is no failure if there is nothing to remove."""
    answer = ask("unload", {"why": args.why} if args.why else None)
    removed, warnings = (
        (answer["data"]["removed"], answer["warnings"]) if answer else _without_daemon(args.config, args.why)
    )
    messages.say("unloaded: nothing is dropped any more" if removed else "nothing was loaded; nothing to do")
    for warning in warnings:
        messages.warning(warning)
    return 0


def _without_daemon(config_path: str | None, why: str) -> tuple[bool, Sequence[str]]:
    from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
    from geodrop.operations.load import unload  # noqa: PLC0415

    done = unload(config_or_assumed(config_path), why)
    return done.removed, done.warnings
