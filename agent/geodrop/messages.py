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
ERR, WARNING = 3, 4  # syslog(3)

WIDTH, NARROW = 80, 20
"""Columns of a terminal that does not say how many it has; and of a text however narrow its terminal is."""

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


def entry(word: str, text: str, margin: int, colour: int | None = None, stream: TextIO | None = None) -> str:
    """A word, in a colour if one is given, and the text behind it in a column of its own.

    On a terminal the text is wrapped at words, so that nothing is cut in two and the column stays one.
    """
    stream = stream or sys.stdout
    if stream.isatty():
        text = f"\n{' ' * margin}".join(_wrapped(text, columns() - margin))
    label = paint(word, colour, stream) if colour and word else word
    return f"{label}{' ' * (margin - len(word))}{text}"


def columns() -> int:
    """The width of the terminal that stdout is; COLUMNS says it where a person wants another."""
    import shutil  # noqa: PLC0415 - 5 ms that only a person at a terminal waits for

    return shutil.get_terminal_size((WIDTH, 0)).columns


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; a longer word has a line to itself."""
    found = []
    for line in text.split("\n"):
        current = ""
        for word in line.split(" "):
            if current and len(current) + 1 + len(word) > max(width, NARROW):
                found.append(current)
                current = word
            else:
                current = f"{current} {word}" if current else word
        found.append(current)
    return found


def error(failure: GeodropError) -> None:
    """Print a failure and its next step. What comes ready to print brings its own place and severity."""
    said = failure.printed or f"{paint('geodrop: error:', RED, sys.stderr)} {lines(str(failure), MARGIN)}"
    say(_ranked(said, ERR), sys.stderr)


def warning(text: str, code: int | None = None) -> None:
    """Print a warning, in a colour of its own; it never changes the exit code."""
    said = lines(text, MARGIN)
    said = paint(said, code, sys.stderr) if code else said
    say(_ranked(f"{paint('geodrop: warning:', YELLOW, sys.stderr)} {said}", WARNING), sys.stderr)


def _ranked(text: str, priority: int) -> str:
    """Lines for the journal begin with their priority (sd-daemon(3)): it shows errors in red, and `-p err` finds them.

    Of systemctl only what the journal has shows the cause of a start or reload that failed.
    """
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream:
        return text
    try:
        found = os.fstat(sys.stderr.fileno())
    except ValueError:  # closed, or no file (io.UnsupportedOperation is one)
        return text
    if stream != f"{found.st_dev}:{found.st_ino}":
        return text
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))
