# SPDX-License-Identifier: Apache-2.0
"""Relay the caller's streams to a child that only ever sees pipes.

A child that a hostile input has taken over could type into a terminal (TIOCSTI) and print anything on it. So the child
gets pipes, and its output reaches a terminal as lines of text without control characters.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Self

from geodrop.messages import GREEN, RED, YELLOW, entry, paint
from geodrop.ruleset.verdict_text import MARGIN, WORDS
from geodrop.text import lines

PIECE = 1 << 16
LONGEST_LINE = 1 << 16

_SEVERITIES = {"geodrop: error:": RED, "geodrop: warning:": YELLOW}
_COLOURS = {"DROP": RED, "ACCEPT": GREEN}


class Relay:
    """Pipes in place of standard input, output and error; `streams` are the child's ends, in that order.

    Use it as a context: at its end, all output of the child has been passed on. `hand_over` closes the child's ends.
    """

    def __init__(self, *, reads: bool) -> None:
        """Make the pipes. `reads`: pass our standard input to the child; otherwise it is left unread."""
        self.streams: list[int] = []
        self._speaking: list[threading.Thread] = []
        if reads:
            end, given = os.pipe2(os.O_CLOEXEC)
            threading.Thread(target=_pass_on, args=(0, given, given), daemon=True).start()
        else:
            end = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.streams.append(end)
        for target in (1, 2):
            source, end = os.pipe2(os.O_CLOEXEC)
            self.streams.append(end)
            work = _show if os.isatty(target) else _pass_on
            self._speaking.append(threading.Thread(target=work, args=(source, target, source), daemon=True))

    def __enter__(self) -> Self:
        sys.stdout.flush()
        sys.stderr.flush()
        for thread in self._speaking:
            thread.start()
        return self

    def hand_over(self) -> None:
        """Close our copies of the child's ends."""
        while self.streams:
            os.close(self.streams.pop())

    def __exit__(self, *_: object) -> None:
        self.hand_over()
        for thread in self._speaking:
            thread.join()


def _pass_on(source: int, target: int, pipe: int) -> None:
    """Copy until one side ends; then close the pipe, which is one of the two."""
    with contextlib.suppress(OSError):
        while piece := os.read(source, PIECE):
            while piece:
                piece = piece[os.write(target, piece) :]
    os.close(pipe)


def _show(source: int, target: int, pipe: int) -> None:
    """Pass a pipe's content on to a terminal, in whole lines, so that no character is cut in two."""
    left = b""
    with contextlib.suppress(OSError):
        while piece := os.read(source, PIECE):
            *whole, left = (left + piece).split(b"\n")
            for line in whole:
                os.write(target, shown(line) + b"\n")
            if len(left) > LONGEST_LINE:
                os.write(target, shown(left))
                left = b""
        os.write(target, shown(left))
    os.close(pipe)


def shown(line: bytes) -> bytes:
    """Return a line for a terminal: severity and verdict in colour, control characters escaped."""
    text = lines(line.decode(errors="replace"))
    for severity, colour in _SEVERITIES.items():
        if text.startswith(severity):
            text = paint(severity, colour, sys.stderr) + text[len(severity) :]
    word = text[:MARGIN].rstrip()
    if word in WORDS and text.startswith(f"{word:<{MARGIN}}"):
        text = entry(word, text[MARGIN:], MARGIN, _COLOURS.get(word))
    return text.encode(errors="replace")
