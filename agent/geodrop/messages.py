"""Messages for people: data on stdout, the rest on stderr. Colour only on a terminal, and never with NO_COLOR.

All that a command says, but for JSON and exports, goes through here: no text of somebody else's steers the terminal.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

from geodrop.text import MARGIN, lines

if TYPE_CHECKING:
    from geodrop.errors import GeodropError

RED, YELLOW, GREEN, BOLD = 31, 33, 32, 1

_PAINT = re.compile(r"(\x1b\[(?:0|1|31|32|33)m)")


def paint(text: str, code: int, stream: TextIO | None = None) -> str:
    """The text in a colour or weight (an SGR code, ECMA-48), if the stream (default: stdout) shows it."""
    stream = stream or sys.stdout
    # https://no-color.org: set to anything but the empty string.
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def say(text: str, stream: TextIO | None = None, *, flush: bool = False) -> None:
    """Print lines, on stdout if nothing else is named. Of what is not printed as it is only our own paint stays."""
    stream = stream or sys.stdout
    pieces = _PAINT.split(text)
    if not stream.isatty():
        pieces = ["".join(pieces)]
    print(
        "".join(piece if number % 2 else lines(piece) for number, piece in enumerate(pieces)), file=stream, flush=flush
    )


def error(failure: GeodropError) -> None:
    """Print a failure and its next step. What comes ready to print brings its own place and severity."""
    if failure.printed:
        say(failure.printed, sys.stderr)
        return
    say(f"{paint('geodrop: error:', RED, sys.stderr)} {lines(str(failure), MARGIN)}", sys.stderr)


def warning(text: str, code: int | None = None) -> None:
    """Print a warning, in a colour of its own; it never changes the exit code."""
    said = lines(text, MARGIN)
    said = paint(said, code, sys.stderr) if code else said
    say(f"{paint('geodrop: warning:', YELLOW, sys.stderr)} {said}", sys.stderr)
