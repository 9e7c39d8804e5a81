# SPDX-License-Identifier: Apache-2.0
"""Lines of a table stand below their headings, and no cell is cut off."""

from __future__ import annotations

import pytest

from geodrop.columns import Column, heading, row

COLUMNS = (Column("NAME", 8), Column("PACKETS", 10, ">"), Column("  MORE"))


def test_cells_stand_below_their_headings() -> None:
    """Text begins where its heading begins, and numbers end where their heading ends."""
    assert heading(COLUMNS) == "NAME       PACKETS  MORE"
    assert row(COLUMNS, ("api", "1,204", "  CASE-7")) == "api          1,204  CASE-7"


def test_a_long_cell_is_printed_whole() -> None:
    """A cell longer than its column moves the rest of its line and loses nothing."""
    assert row(COLUMNS, ("a-long-name", "7", "")) == "a-long-name         7"


def test_something_can_stand_between_the_cells() -> None:
    """Cells are joined by what is given, also under headings."""
    assert heading(COLUMNS[:2], "| ") == "NAME    |    PACKETS"
    assert row(COLUMNS[:2], ("api", "7"), "| ") == "api     |          7"


def test_a_line_has_a_cell_for_each_column() -> None:
    """A missing cell is a bug, not an empty column."""
    with pytest.raises(ValueError, match="shorter"):
        row(COLUMNS, ("api", "7"))
