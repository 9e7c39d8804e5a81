"""`geodrop unload`: leave nothing of ours in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.config import load_config
from geodrop.dataplane.load import unload

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`unload` takes no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Unload and say so; nothing to remove is no failure."""
    removed = unload(load_config(args.config))
    print("unloaded: nothing is dropped any more" if removed else "nothing was loaded; nothing to do")
    return 0
