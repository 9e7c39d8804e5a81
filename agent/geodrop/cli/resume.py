"""`geodrop resume`: end a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.control.client import ask

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`resume` takes no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Resume and say so; not being paused is no failure."""
    answer = ask("resume")
    print(answer["text"] if answer else _without_daemon(args.config))
    return 0


def _without_daemon(config_path: str | None) -> str:
    from geodrop.config import load_config  # noqa: PLC0415 - see cli/status.py
    from geodrop.dataplane.change import by_me  # noqa: PLC0415
    from geodrop.dataplane.pause import resume  # noqa: PLC0415
    from geodrop.state.lock import exclusive  # noqa: PLC0415

    with exclusive():
        return resume(load_config(config_path), by_me("resume")).text
