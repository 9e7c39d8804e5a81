"""`geodrop unload`: leave nothing of ours in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.control.client import ask

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`unload` takes no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Unload and say so; nothing to remove is no failure."""
    answer = ask("unload")
    removed = answer["data"]["removed"] if answer else _without_daemon(args.config)
    print("unloaded: nothing is dropped any more" if removed else "nothing was loaded; nothing to do")
    return 0


def _without_daemon(config_path: str | None) -> bool:
    from geodrop.config import load_config  # noqa: PLC0415 - see cli/status.py
    from geodrop.dataplane.load import unload  # noqa: PLC0415

    return unload(load_config(config_path))
