# SPDX-License-Identifier: Apache-2.0
"""Read YAML text into a plain tree of texts, lists and tables, each with its place in the file.

Only the unambiguous part of YAML is accepted: every scalar stays the text that was written, so NO is Norway, 1:30 is no
number of seconds and 0777 is not 511; the schema defines what a text means. Anything that two readers could understand
differently is refused: duplicate keys, tags, anchors and aliases (which also let a small file grow without bound),
merge keys, several documents, and characters that are invisible or change the direction of a line.

The parser's events are used, not its tree: PyYAML builds the tree by recursion, which a deep file overflows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from geodrop.document.problems import Position, ProblemReport, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_SIZE = 1 << 20
MAX_DEPTH = 20
"""Most bytes, and the deepest nesting of lists and tables, of which the schema needs five."""

LINE_BREAK = re.compile(r"\r\n|\r|\n")
"""The other line breaks of YAML 1.1 (U+0085, U+2028, U+2029) are refused, because no editor counts them."""

HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
"""Control characters, line separators, and characters that change the direction of a line (CVE-2021-42574)."""

HINTS = {
    "\t": "use spaces, not tabs",
    ":": "put quotes round a text that has colons, such as an IPv6 prefix in [...]",
    "@": "put the text in quotes",
    "`": "put the text in quotes",
    "%": "put the text in quotes",
}
"""What to do about broken YAML, by the character at which the parser failed."""

# libyaml if PyYAML was built with it: 13 times as fast, and its marks are the same.
PARSER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text as written, without its quotes; `plain` if it had none."""

    text: str
    place: Position
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """A list."""

    items: tuple[Node, ...]
    place: Position


@dataclass(frozen=True, slots=True)
class KeyTable:
    """Keys and values in the order written; every key occurs once."""

    entries: tuple[tuple[Scalar, Node], ...]
    place: Position


Node = Scalar | Listing | KeyTable


def read_document(data: bytes, file: str) -> tuple[str, Node | None, ProblemReport]:
    """Return the text of a file, the root of its tree, and the report of problems, to which the caller adds its own.

    The root is None if the file is empty, or if it is not valid YAML.
    """
    if len(data) > MAX_SIZE:
        report = ProblemReport(file, ())
        message = f"{len(data):,} bytes, {MAX_SIZE:,} is the most; move long lists of prefixes to list files"
        report.error(Position(file, 1, 1), message)
        return "", None, report
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = LINE_BREAK.split(data[: error.start].decode())
        report = ProblemReport(file, LINE_BREAK.split(data.decode(errors="replace")))
        place = Position(file, len(before), len(before[-1]) + 1)
        report.error(place, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")
        return "", None, report
    lines = LINE_BREAK.split(text)
    report = ProblemReport(file, lines)
    for number, line in enumerate(lines, 1):
        for match in HIDDEN.finditer(line):
            message = f"character U+{ord(match[0]):04X} is not allowed, because it is invisible; remove it"
            report.error(Position(file, number, match.start() + 1), message)
    return text, None if report.failed else _Tree(report, lines).build(text), report


@dataclass(slots=True)
class _Open:
    """A list or table whose end has not been read yet; a table's items are alternately its keys and values.

    A refused item is None, and is left out when the list or table ends.
    """

    table: bool
    place: Position
    items: list[Node | None]


class _Tree:
    def __init__(self, report: ProblemReport, lines: Sequence[str]) -> None:
        self._report = report
        self._lines = lines
        self._end = Position(report.file, len(lines), len(lines[-1]) + 1)

    def build(self, text: str) -> Node | None:
        """Return the root, None if there is none; report problems, and stop where the YAML is broken."""
        try:
            return self._build(yaml.parse(text, Loader=PARSER))
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # Errors without a place, such as escapes above U+10FFFF in the parser written in Python.
            self._report.error(
                Position(self._report.file, 1, 1), f"not YAML ({error}); remove what is out of the ordinary"
            )
        return None

    def _build(self, events: Iterable[Any]) -> Node | None:
        stack = [_Open(table=False, place=Position(self._report.file, 1, 1), items=[])]
        for event in events:
            place = self._place(event.start_mark)
            match event:
                case yaml.DocumentStartEvent() if stack[0].items:
                    self._report.error(place, "a second document begins here; write one document a file")
                    break
                case yaml.AliasEvent():
                    self._report.error(place, "aliases (*name) are not supported; write a group or list, and name that")
                    stack[-1].items.append(None)
                case yaml.ScalarEvent():
                    self._refuse_properties(event, place)
                    stack[-1].items.append(Scalar(event.value, place, plain=not event.style))
                case yaml.CollectionStartEvent() if len(stack) > MAX_DEPTH:
                    self._report.error(
                        place, f"more than {MAX_DEPTH} lists and tables inside each other; write it flat"
                    )
                    break
                case yaml.CollectionStartEvent():
                    self._refuse_properties(event, place)
                    stack.append(_Open(isinstance(event, yaml.MappingStartEvent), place, []))
                case yaml.CollectionEndEvent():
                    done = stack.pop()
                    stack[-1].items.append(self._table(done) if done.table else self._listing(done))
        return stack[0].items[0] if stack[0].items else None

    def _listing(self, done: _Open) -> Listing:
        return Listing(tuple(item for item in done.items if item is not None), done.place)

    def _table(self, done: _Open) -> KeyTable:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(done.items[::2], done.items[1::2], strict=True):
            if key is None:
                continue
            if not isinstance(key, Scalar):
                self._report.error(key.place, "a key must be one word, not a list or table; write  name: value")
            elif key.plain and key.text == "<<":
                self._report.error(key.place, "merge keys (<<) are not supported; write the keys out")
            elif key.text in entries:
                first = entries[key.text][0].place
                message = f"{shown(key.text)} is written twice, first in line {first.line}; keep one of the two"
                self._report.error(key.place, message)
            elif value is not None:
                entries[key.text] = (key, value)
        return KeyTable(tuple(entries.values()), done.place)

    def _refuse_properties(self, event: Any, place: Position) -> None:  # noqa: ANN401 - events of three classes
        if event.tag is not None:
            self._report.error(place, f"tags ({shown(event.tag)}) are not supported; write the value alone")
        if event.anchor is not None:
            self._report.error(place, "anchors (&name) are not supported; write a group or list, and name that")

    def _place(self, mark: Any) -> Position:  # noqa: ANN401 - each of the two parsers has its own marks
        # For something missing at the end of the text, libyaml gives the line after the last one.
        return min(Position(self._report.file, mark.line + 1, mark.column + 1), self._end)

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        place = self._place(mark) if mark else self._end
        what = error.problem or "cannot be read"
        if error.context and error.context_mark and error.context_mark.line + 1 != place.line:
            what += f", {error.context} that begins in line {error.context_mark.line + 1}"
        at = self._lines[place.line - 1][place.column - 1 :][:1]
        self._report.error(place, f"not YAML: {what}; {HINTS.get(at, 'check indentation, brackets and quotes')}")
