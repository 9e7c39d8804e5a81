# SPDX-License-Identifier: Apache-2.0
"""Convert Markdown to roff with the macros of man(7): headings, paragraphs, lists, code, and tables of two columns.

Only the Markdown that the pages in docs/ use is supported. A wider table has no good form in a man page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\([^)]+\)")
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
ITEM = re.compile(r"(-|[0-9]+\.) (.*)", re.DOTALL)
CELL = re.compile(r"(?<!\\)\|")

AS_TYPED = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
"""Escapes for characters that roff would replace by typographic ones, which a shell cannot read (groff_char(7))."""


def to_roff(markdown: str) -> str:
    """Return the body of a man page. A first-level heading is left out, since the page has its own title."""
    blocks = re.split(r"\n{2,}", _without_fences(COMMENT.sub("", markdown)).strip("\n"))
    body = "\n".join(line for block in blocks for line in _block(block)) + "\n"
    # A heading begins a paragraph, so .PP after it is dropped.
    return re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", body, flags=re.MULTILINE)


def _without_fences(markdown: str) -> str:
    """Turn each fenced code block into one block with a tab before every line, empty lines included."""

    def indented(found: re.Match[str]) -> str:
        return "\n" + "\n".join(f"\t{line}" for line in found[1].splitlines()) + "\n"

    return re.sub(r"^```[a-z]*\n(.*?)^```$", indented, markdown, flags=re.DOTALL | re.MULTILINE)


def _block(block: str) -> Iterator[str]:
    lines = block.splitlines()
    match lines[0].split(" ")[0]:
        case "#":
            return
        case "##":
            yield f".SH {_text(lines[0][3:].upper())}"
        case "###":
            yield f".SS {_text(lines[0][4:])}"
        case "|":
            yield from _table(lines)
        case word if word.startswith("\t"):
            yield from (".PP", ".RS 4", ".nf", *(_typed_line(line[1:]) for line in lines), ".fi", ".RE")
        case _ if ITEM.match(block):
            yield from _items(block)
        case _:
            yield from (".PP", *_filled(block))


def _items(block: str) -> Iterator[str]:
    for item in re.split(r"\n(?=- |[0-9]+\. )", block):
        found = ITEM.match(item)
        if not found:
            raise ValueError(f"not an item of a list: {item}")
        mark = r"\(bu 2" if found[1] == "-" else f"{found[1]} 4"
        yield from (f".IP {mark}", *_filled(found[2]))


def _table(lines: list[str]) -> Iterator[str]:
    """Yield each row as a term and its meaning, without header and rule; raises ValueError unless two columns."""
    for line in lines[2:]:
        cells = [cell.strip().replace(r"\|", "|") for cell in CELL.split(line)[1:-1]]
        if len(cells) != 2:
            raise ValueError(f"{len(cells)} columns, a man page has room for two: {line}")
        yield from (".TP", _text(cells[0]), *_filled(cells[1]))


def _filled(text: str) -> list[str]:
    """Convert running text, one line of roff per line."""
    return [_text(line.strip()) for line in text.splitlines()]


def _text(text: str) -> str:
    """Convert a line of running text: code and strong words become bold, links become their text."""
    result, end = "", 0
    for found in INLINE.finditer(text):
        result += _prose(text[end : found.start()])
        typed, strong, link = found.groups()
        result += rf"\fB{_typed(typed or strong)}\fR" if typed or strong else _text(link)
        end = found.end()
    return _guarded(result + _prose(text[end:]))


def _prose(text: str) -> str:
    # A dash that begins a word begins an option: it must be an ASCII hyphen, which a shell can read.
    return re.sub(r"(?<![\w-])-+", lambda dashes: r"\-" * len(dashes[0]), text.replace("\\", r"\e"))


def _typed_line(line: str) -> str:
    return _guarded(_typed(line))


def _typed(text: str) -> str:
    return "".join(AS_TYPED.get(character, character) for character in text)


def _guarded(line: str) -> str:
    """Protect a line that roff would take for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
