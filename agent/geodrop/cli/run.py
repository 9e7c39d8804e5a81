"""`geodrop run`: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.daemon.run import run_daemon

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`run` takes no arguments of its own: what it is to do stands in agent.yaml."""


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; the kernel goes on enforcing then."""
    run_daemon(args.config)
    return 0
