# SPDX-License-Identifier: Apache-2.0
"""`geodrop run`: run the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.daemon.run import run_daemon

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `run` takes no arguments of its own; agent.yaml configures the daemon."""


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; the kernel goes on enforcing afterwards."""
    run_daemon(args.config)
    return 0
