"""Text from others on a terminal or in a log: reasons, names of processes, interfaces and files, what a child has said.

Whoever chose it must not steer the terminal, hide a line or make one up. JSON says what it was, exactly.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

MARGIN = "    | "
"""What stands before each line of a text but its first: it is nobody else's."""

WITH_LINES = {"problems", "error", "text"}
"""Keys of objects under which a text may have lines: the problems of a policy do."""


def harmless(text: str) -> str:
    """On one line, with all that is not printed as it is escaped: controls, escapes, what turns the direction round."""
    return text if text.isprintable() else "".join(map(_shown, text))


def lines(text: str, margin: str = "") -> str:
    """The same for a text of several lines, which stay, with their tabs; each but the first begins with the margin."""
    return f"\n{margin}".join("\t".join(map(harmless, line.split("\t"))) for line in text.split("\n"))


def shown(value: T, *, several: bool = False) -> T:
    """An object as JSON has it, for a person: each text in it harmless. `several`: a text may have lines."""
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
