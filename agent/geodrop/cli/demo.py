# SPDX-License-Identifier: Apache-2.0
"""`geodrop demo`: a complete run in throw-away network namespaces, with a bundled database."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from geodrop import messages
from geodrop.demo.network import check_host
from geodrop.demo.story import play

if TYPE_CHECKING:
    import argparse
    from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the demo as Ctrl-C does, after it has removed what it made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the demo takes no arguments."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Play the demo and leave nothing behind, however it ends."""
    del args
    check_host()
    previous = {number: signal.signal(number, _interrupt) for number in ENDING}
    try:
        with tempfile.TemporaryDirectory(prefix="geodrop-demo-") as folder:
            play(Path(folder))
        messages.say("Removed: both namespaces, all that was loaded in them, and every file.")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt
