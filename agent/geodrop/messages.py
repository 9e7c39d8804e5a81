"""Messages for people, on stderr. Data goes to stdout; colour only on a terminal, and never with NO_COLOR."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from geodrop.errors import GeodropError

RED, YELLOW, GREEN, BOLD = 31, 33, 32, 1


def paint(text: str, code: int, stream: TextIO | None = None) -> str:
    """The text in a colour or weight (an SGR code, ECMA-48), if the stream (default: stdout) shows it."""
    stream = stream or sys.stdout
    # https://no-color.org: set to anything but the empty string.
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def error(failure: GeodropError) -> None:
    """Print a failure and its next step. What comes ready to print brings its own place and severity."""
    if failure.printed:
        print(failure.printed, file=sys.stderr)
        return
    print(f"{paint('geodrop: error:', RED, sys.stderr)} {failure}", file=sys.stderr)


def warning(text: str) -> None:
    """Print a warning; it never changes the exit code."""
    print(f"{paint('geodrop: warning:', YELLOW, sys.stderr)} {text}", file=sys.stderr)
