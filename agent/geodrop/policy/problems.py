"""What is wrong with a policy, and where: `file:line:column: error: what is wrong; what to write`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True, slots=True)
class Problem:
    """One mistake or warning; `source` is the line of the file, for the caret."""

    place: Place
    message: str
    severity: Literal["error", "warning"] = "error"
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        text = f"{self.place}: {self.severity}: {self.message}"
        if self.source:
            text += f"\n    {self.source}\n    {' ' * (self.place.column - 1)}^"
        return text
