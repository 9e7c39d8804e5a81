# SPDX-License-Identifier: Apache-2.0
"""Check what a node of the tree is: a table with known keys, a list, or a text of a certain form.

Every function reports a mistake and returns None or nothing for it, so that reading continues and all mistakes are
found at once. `what` names the node in messages, as an operator would: `default of service "api"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from geodrop.document.problems import shown
from geodrop.document.tree import KeyTable, Listing, Node, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from geodrop.document.keys import Keys
    from geodrop.document.problems import Position, ProblemReport

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class UnreadableError(ValueError):
    """A text does not have the required form. The message completes a sentence: what is wrong, what to write."""


def table(report: ProblemReport, node: Node, what: str) -> KeyTable | None:
    """Return the node if it is a table; otherwise report an error and return None."""
    if isinstance(node, KeyTable):
        return node
    report.error(node.place, f"{what} {_instead(node)}; write  name: value  pairs, or {{}} for none")
    return None


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of a table by key, with the table's name and place. Methods return None for a missing key."""

    report: ProblemReport
    what: str
    place: Position
    nodes: Mapping[str, Node]

    def value(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Return the value of a key, parsed."""
        return value(self.report, self.nodes[key], f"{key} of {self.what}", parse) if key in self.nodes else None

    def choice(self, key: str, choices: type[E]) -> E | None:
        """Return the value of a key as a member of an enumeration."""
        return self.value(key, partial(_choice, self.report, choices))


def fields(report: ProblemReport, node: Node, what: str, known: Keys) -> Fields:
    """Return the known keys of a table; others are reported and left out. If it is no table, there are no keys."""
    found = table(report, node, what)
    nodes = {}
    for key, item in found.entries if found else ():
        if key.text in known:
            nodes[key.text] = item
        else:
            report.error(key.place, f"{shown(key.text)} is not a key of {what}{report.meant(key.text, known)}")
    return Fields(report, what, node.place, nodes)


def listing(report: ProblemReport, node: Node, what: str) -> tuple[Node, ...]:
    """Return the items of a list; if it is no list, report an error and return no items."""
    if isinstance(node, Listing):
        return node.items
    short = isinstance(node, Scalar) and node.text.isprintable() and 0 < len(node.text) <= 40
    example = f"[{node.text}]" if isinstance(node, Scalar) and short else "[...]"
    report.error(node.place, f"{what} {_instead(node)}, but must be a list; write {example}, or [] for none")
    return ()


def value(report: ProblemReport, node: Node, what: str, parse: Callable[[str], T]) -> T | None:
    """Return a text parsed by `parse`, which raises UnreadableError; report an error and return None if it fails."""
    if not isinstance(node, Scalar) or (node.plain and not node.text):
        report.error(node.place, f"{what} {_instead(node)}; {_text_for(node)}")
        return None
    try:
        return parse(node.text)
    except UnreadableError as error:
        report.error(node.place, f"{what}: {error}")
        return None


def values(report: ProblemReport, node: Node, what: str, parse: Callable[[str], T]) -> list[T]:
    """Return the items of a list parsed by `parse`; unreadable items are reported and left out."""
    found = [value(report, item, f"entry of {what}", parse) for item in listing(report, node, what)]
    return [item for item in found if item is not None]


def _choice(report: ProblemReport, choices: type[E], text: str) -> E:
    words = [str(choice) for choice in choices]
    if text not in words:
        raise UnreadableError(f"{shown(text)} is not known{report.meant(text, words)}")
    return choices(text)


def _instead(node: Node) -> str:
    match node:
        case KeyTable():
            return "is a table"
        case Listing():
            return "is a list"
        case Scalar(text="", plain=True):
            return "is empty"
        case Scalar():
            return "is a single value"


def _text_for(node: Node) -> str:
    """Return what to write for a node that should be a text: often there is an extra space, or quotes are missing."""
    match node:
        case KeyTable(entries=((Scalar(text=key), Scalar(text=text)),)) if (
            key in ("group", "list", "continent") and text
        ):
            return f"write {key}:{text[:40]}, without a space"
        case KeyTable():
            return "write one value; put quotes round a value that has a colon, such as an IPv6 prefix in [...]"
        case Listing():
            return "write one value"
        case Scalar():
            return "write a value, or remove the key"
