# SPDX-License-Identifier: Apache-2.0
"""Tables for a terminal: columns of fixed width, so that a table can be printed line by line while it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Column(NamedTuple):
    """A column: its heading, its width in characters, and "<" for text or ">" for numbers.

    A longer cell moves the cells behind it to the right: nothing is cut off.
    """

    heading: str
    width: int = 0
    align: str = "<"


def heading(columns: Iterable[Column], between: str = "") -> str:
    """Return the line of headings."""
    columns = tuple(columns)
    return row(columns, (column.heading for column in columns), between)


def row(columns: Iterable[Column], cells: Iterable[str], between: str = "") -> str:
    """Return one line, without blanks at its end; `cells` has as many as there are columns."""
    padded = (f"{cell:{column.align}{column.width}}" for column, cell in zip(columns, cells, strict=True))
    return between.join(padded).rstrip()
