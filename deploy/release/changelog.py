# SPDX-License-Identifier: Apache-2.0
"""CHANGELOG.md as data: what each version adds, changes and mends, and what an operator has to do for it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEADINGS = ("Added", "Changed", "Fixed", "Security", "Upgrade")
"""The parts of a version, in this order. Upgrade says what an operator has to do; it is there even if that is nothing.
"""

UNRELEASED = "Unreleased"

_VERSION = re.compile(r"^## (?P<name>Unreleased|[0-9]+\.[0-9]+\.[0-9]+)(?: \((?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})\))?$")


@dataclass(frozen=True, slots=True)
class Version:
    """The section of one version: its `date` as text, "" for none, and the text below each heading.

    `line` is where it begins in the file, from 1. `stray` are headings and lines that belong to no part.
    """

    name: str
    date: str
    line: int
    parts: Mapping[str, str] = field(default_factory=dict)
    stray: tuple[str, ...] = ()

    def problems(self) -> Iterator[str]:
        """Yield what keeps it from being released, a line each."""
        if not self.date:
            yield f"version {self.name} has no date: write  ## {self.name} (YEAR-MONTH-DAY)"
        if self.stray:
            yield f"this is under none of {', '.join(HEADINGS)}: {self.stray[0]}"
        if list(self.parts) != [heading for heading in HEADINGS if heading in self.parts]:
            yield f"its parts are not in the order {', '.join(HEADINGS)}"
        for heading, text in self.parts.items():
            if not text:
                yield f"{heading} is empty: leave it out, or write what belongs there"
        if "Upgrade" not in self.parts:
            yield "it does not say under  ### Upgrade  what an operator has to do (perhaps: nothing)"
        if set(self.parts) <= {"Upgrade"}:
            yield "it does not say what is new"

    def notes(self) -> str:
        """Return the notes of the release as Markdown: what has to be done first, then the rest."""
        order = ["Upgrade", *(heading for heading in HEADINGS if heading != "Upgrade")]
        parts = [f"## {heading}\n\n{self.parts[heading]}\n" for heading in order if heading in self.parts]
        return "\n".join([f"# geodrop {self.name} ({self.date})\n", *parts])


def read(text: str) -> dict[str, Version]:
    """Return the versions of a CHANGELOG by name, the newest first."""
    lines = text.splitlines()
    starts = [(number, found) for number, line in enumerate(lines) if (found := _VERSION.match(line))]
    ends = [number for number, _ in starts[1:]] + [len(lines)]
    return {
        found["name"]: _version(found, start + 1, lines[start + 1 : end])
        for (start, found), end in zip(starts, ends, strict=True)
    }


def _version(found: re.Match[str], line: int, lines: list[str]) -> Version:
    parts: dict[str, list[str]] = {}
    stray: list[str] = []
    current: list[str] = stray
    for text in lines:
        heading = text.removeprefix("### ") if text.startswith("### ") else ""
        if heading in HEADINGS and heading not in parts:
            current = parts.setdefault(heading, [])
        elif heading or (current is stray and text.strip()):
            stray.append(text)
        else:
            current.append(text)
    told = {heading: "\n".join(one).strip() for heading, one in parts.items()}
    return Version(found["name"], found["date"] or "", line, told, tuple(filter(str.strip, stray)))
