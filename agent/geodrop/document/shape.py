"""What a node of the tree must be: a table with known keys, a list, a text of a certain form.

Every function reports what is wrong and gives None for it, so that reading goes on and everything is found at once.
`what` names the thing in messages, as the operator would say it: `default of service "api"`.
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
    """A text is not what is asked for; the message is the second half of a sentence: what is wrong, what to write."""


def table(report: ProblemReport, node: Node, what: str) -> KeyTable | None:
    """The node, if it is a table."""
    if isinstance(node, KeyTable):
        return node
    report.error(node.place, f"{what} {_instead(node)}; write  name: value  pairs, or {{}} for none")
    return None


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of a table by key, and what the table is; a method for a key that is not there gives None."""

    report: ProblemReport
    what: str
    place: Position
    nodes: Mapping[str, Node]

    def value(self, key: str, parse: Callable[[str], T]) -> T | None:
        """What `parse` makes of the value."""
        return value(self.report, self.nodes[key], f"{key} of {self.what}", parse) if key in self.nodes else None

    def choice(self, key: str, choices: type[E]) -> E | None:
        """The value as one of an enumeration."""
        return self.value(key, partial(_choice, self.report, choices))


def fields(report: ProblemReport, node: Node, what: str, known: Keys) -> Fields:
    """The known keys of a table, the others reported and left out; no keys if it is no table."""
    found = table(report, node, what)
    nodes = {}
    for key, item in found.entries if found else ():
        if key.text in known:
            nodes[key.text] = item
        else:
            report.error(key.place, f"{shown(key.text)} is not a key of {what}{report.meant(key.text, known)}")
    return Fields(report, what, node.place, nodes)


def listing(report: ProblemReport, node: Node, what: str) -> tuple[Node, ...]:
    """The items of a list; none if it is no list."""
    if isinstance(node, Listing):
        return node.items
    short = isinstance(node, Scalar) and node.text.isprintable() and 0 < len(node.text) <= 40
    example = f"[{node.text}]" if isinstance(node, Scalar) and short else "[...]"
    report.error(node.place, f"{what} {_instead(node)}, but must be a list; write {example}, or [] for none")
    return ()


def value(report: ProblemReport, node: Node, what: str, parse: Callable[[str], T]) -> T | None:
    """What `parse` makes of a text; it raises UnreadableError."""
    if not isinstance(node, Scalar) or (node.plain and not node.text):
        report.error(node.place, f"{what} {_instead(node)}; {_text_for(node)}")
        return None
    try:
        return parse(node.text)
    except UnreadableError as error:
        report.error(node.place, f"{what}: {error}")
        return None


def values(report: ProblemReport, node: Node, what: str, parse: Callable[[str], T]) -> list[T]:
    """What `parse` makes of each item of a list; the unreadable ones are left out."""
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
    """What to write for a node that should have been a text: mostly a space too many, or quotes too few."""
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
