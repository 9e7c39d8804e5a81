# SPDX-License-Identifier: Apache-2.0
"""Problems of a file with their places: `file:line:column: error: what is wrong; what to write`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Severity = Literal["error", "warning"]

MAX_PROBLEMS = 1_000
"""Problems above this number are only counted: a hostile file must not make megabytes of messages."""

MAX_CHOICES = 500
MAX_LISTED = 12
"""Most names among which a misspelt one is looked up, and most names that a message lists."""

EXCERPT = 110
"""Characters of a long line that are shown around the caret."""


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{harmless(self.file)}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True, slots=True)
class Problem:
    """One mistake or warning; `source` is the line of the file, for the caret."""

    place: Position
    message: str
    severity: Severity = "error"
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        text = f"{self.place}: {self.severity}: {self.message}"
        if self.source:
            start = max(0, min(self.place.column - 1 - EXCERPT // 2, len(self.source) - EXCERPT))
            excerpt = self.source[start : start + EXCERPT]
            # Tabs are kept in the caret's line, so that the caret is at the right column whatever their width.
            indent = "".join(c if c == "\t" else " " for c in excerpt[: self.place.column - 1 - start])
            text += f"\n    {excerpt}\n    {indent}^"
        return text


class ProblemReport:
    """Collects the problems of one file, each with its line of the text."""

    def __init__(self, file: str, lines: Sequence[str]) -> None:
        self.file = file
        self._lines = lines
        self._sources: dict[int, str] = {}
        self._found: dict[Severity, set[Problem]] = {"error": set(), "warning": set()}
        self._left_out = 0

    @property
    def failed(self) -> bool:
        """Whether there was an error."""
        return bool(self._found["error"])

    @property
    def errors(self) -> int:
        """How many errors there were so far, at most MAX_PROBLEMS."""
        return len(self._found["error"])

    @property
    def full(self) -> bool:
        """Whether further errors are only counted."""
        return len(self._found["error"]) >= MAX_PROBLEMS

    def error(self, place: Position, message: str) -> None:
        """Report a problem that makes the file unusable."""
        self._add(place, message, "error")

    def warning(self, place: Position, message: str) -> None:
        """Report something that is allowed, but probably not intended."""
        self._add(place, message, "warning")

    def problems(self) -> list[Problem]:
        """Return all problems found, in file order."""
        found = sorted(self._found["error"] | self._found["warning"])
        if self._left_out:
            found.append(Problem(found[-1].place, f"{self._left_out:,} more problems are not shown", "warning"))
        return found

    def meant(self, word: str, known: Collection[str]) -> str:
        """Return the end of a message about an unknown word: `; did you mean "api"?`, or the list of known words."""
        if self.full or len(known) > MAX_CHOICES:
            return ""
        close = difflib.get_close_matches(word[:64], known, n=1)
        if close:
            return f"; did you mean {shown(close[0])}?"
        return f"; write one of: {', '.join(map(clean, known))}" if 0 < len(known) <= MAX_LISTED else ""

    def _add(self, place: Position, message: str, severity: Severity) -> None:
        found = self._found[severity]
        if len(found) >= MAX_PROBLEMS:
            self._left_out += 1
            return
        found.add(Problem(place, message, severity, self._source(place.line)))

    def _source(self, number: int) -> str:
        """Return a line of the file for a terminal: with control characters replaced. A thousand problems may share a
        line of a megabyte, so this is done once for each line.
        """
        if number not in self._sources:
            line = self._lines[number - 1] if 0 < number <= len(self._lines) else ""
            self._sources[number] = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)
        return self._sources[number]


def shown(text: str) -> str:
    """Return a text for a message: in quotes, on one line, unprintable characters escaped, shortened."""
    return f'"{clean(text)}"'


def clean(text: str) -> str:
    """Return a text for a message: on one line, unprintable characters escaped, shortened."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return harmless(short)
