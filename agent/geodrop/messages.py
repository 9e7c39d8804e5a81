# SPDX-License-Identifier: Apache-2.0
"""Messages for people: data on stdout, the rest on stderr. Colour only on a terminal, and never with NO_COLOR.

All output of a command, except JSON and exports, goes through here, so that untrusted text cannot control the terminal.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

from geodrop.text import MARGIN, lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.errors import GeodropError

RED, YELLOW, GREEN, BOLD = 31, 33, 32, 1
ERR, WARNING = 3, 4  # syslog(3)

WIDTH, NARROW = 80, 20
"""Columns assumed for a terminal of unknown width, and the least width of a text."""

_PAINT = re.compile(r"(\x1b\[(?:0|1|31|32|33)m)")


def paint(text: str, code: int, stream: TextIO | None = None) -> str:
    """Return the text in a colour or weight (an SGR code, ECMA-48), if the stream (default: stdout) is a terminal."""
    stream = stream or sys.stdout
    # https://no-color.org: set to anything but the empty string.
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def say(text: str, stream: TextIO | None = None, *, flush: bool = False) -> None:
    """Print lines, by default to stdout, with unprintable characters escaped, except those of `paint`."""
    stream = stream or sys.stdout
    pieces = _PAINT.split(text)
    if not stream.isatty():
        pieces = ["".join(pieces)]
    print(
        "".join(piece if number % 2 else lines(piece) for number, piece in enumerate(pieces)), file=stream, flush=flush
    )


def data(lines: Iterable[str]) -> None:
    """Print texts that json.dumps has made to stdout, a line each: they have no control characters, and ASCII only."""
    if text := "\n".join(lines):
        if not text.isascii():
            raise ValueError("no text of json.dumps")
        print(text)


def entry(word: str, text: str, margin: int, colour: int | None = None, stream: TextIO | None = None) -> str:
    """Return a word, in a colour if one is given, and the text after it in a column of its own, `margin` wide.

    On a terminal the text is wrapped between words, and stays in its column.
    """
    stream = stream or sys.stdout
    if stream.isatty():
        text = f"\n{' ' * margin}".join(_wrapped(text, columns() - margin))
    label = paint(word, colour, stream) if colour and word else word
    return f"{label}{' ' * (margin - len(word))}{text}"


def columns() -> int:
    """Return the width of stdout's terminal in columns; the variable COLUMNS overrides it."""
    import shutil  # noqa: PLC0415 - takes 5 ms, and only a terminal needs it

    return shutil.get_terminal_size((WIDTH, 0)).columns


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines of at most `width` characters; a longer word gets a line of its own."""
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
    """Print a failure and its next step. Text that is ready to print has its own place and severity."""
    said = failure.printed or f"{paint('geodrop: error:', RED, sys.stderr)} {lines(str(failure), MARGIN)}"
    say(_ranked(said, ERR), sys.stderr)


def warning(text: str, code: int | None = None) -> None:
    """Print a warning, its text in the colour `code` if given. A warning never changes the exit code."""
    said = lines(text, MARGIN)
    said = paint(said, code, sys.stderr) if code else said
    say(_ranked(f"{paint('geodrop: warning:', YELLOW, sys.stderr)} {said}", WARNING), sys.stderr)


def _ranked(text: str, priority: int) -> str:
    """Return lines with their priority in front if stderr is the journal (sd-daemon(3)).

    Then the journal shows errors in red, and `journalctl -p err` finds them. If a start or reload fails, systemctl only
    shows what the journal has.
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
