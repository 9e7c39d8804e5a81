"""`geodrop resume`: end a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.config import load_config
from geodrop.dataplane.change import by_me
from geodrop.dataplane.pause import resume
from geodrop.state.lock import exclusive

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`resume` takes no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Resume and say so; not being paused is no failure."""
    with exclusive():
        print(resume(load_config(args.config), by_me("resume")).text)
    return 0
