# SPDX-License-Identifier: Apache-2.0
"""Make untrusted text safe for a terminal or a log: reasons, names of processes, interfaces, files, output of a child.

Its author must not be able to control the terminal, hide a line or forge one. JSON output has the exact text.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

MARGIN = "    | "
"""Prefix of each line of a text but the first, which shows that the line belongs to the text."""

WITH_LINES = {"problems", "error", "text"}
"""Keys of objects whose texts may have several lines, as the problems of a policy have."""


def harmless(text: str) -> str:
    """Return a text on one line, with unprintable characters escaped: controls, and changes of text direction."""
    return text if text.isprintable() else "".join(map(_shown, text))


def lines(text: str, margin: str = "") -> str:
    """Return a text with line breaks and tabs kept and other unprintable characters escaped.

    Each line but the first begins with the margin.
    """
    return f"\n{margin}".join("\t".join(map(harmless, line.split("\t"))) for line in text.split("\n"))


def shown(value: T, *, several: bool = False) -> T:
    """Return a JSON value with each text in it made harmless. `several`: texts may have several lines."""
    made: object = value
    if isinstance(value, str):
        made = lines(value, MARGIN) if several else harmless(value)
    elif isinstance(value, dict):
        made = {name: shown(one, several=name in WITH_LINES) for name, one in value.items()}
    elif isinstance(value, list | tuple):
        made = type(value)(shown(one, several=several) for one in value)
    return made  # type: ignore[return-value]  # of the type it was


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
