# SPDX-License-Identifier: Apache-2.0
"""The bench's arithmetic: which rounds count, what a row says about them, and how it is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bench.report import LEAST, Row, against, alone, alternately, beyond, line, undisturbed, write

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_compared_is_measured_side_by_side() -> None:
    """Rounds follow each other, and within a round the measurements do."""
    order: list[str] = []

    def measured(name: str, value: float) -> float:
        order.append(name)
        return value

    assert alternately(2, lambda: measured("a", 1.0), lambda: measured("b", 2.0)) == [[1.0, 1.0], [2.0, 2.0]]
    assert order == ["a", "b", "a", "b"]


def test_the_quietest_third_counts() -> None:
    """Rounds are chosen by all their measurements together: a figure is never chosen apart from its baseline."""
    assert undisturbed([[5.0, 1.0, 3.0, 9.0], [50.0, 40.0, 10.0, 90.0]]) == [[3.0, 1.0], [10.0, 40.0]]


def test_what_takes_longer_does_not_count_for_more() -> None:
    """A slow script must not decide which rounds count for a figure that takes a tenth of the script's time."""
    short, long = [0.1, 0.2, 0.2], [8.1, 8.0, 8.2]
    assert undisturbed([short, long]) == [[0.1], [8.1]]


def test_a_row_holds_medians_their_ratio_and_its_spread() -> None:
    """The spread is that of the ratio, round by round: noise that slows both down alike does not count."""
    row = against("load", "s", "nft -f", [1.0, 2.0, 4.0], [3.0, 6.0, 6.0])
    assert row == Row("load", 2.0, "s", "nft -f", 6.0, 3.0, 0.5)


def test_a_row_without_a_baseline_has_the_spread_of_its_value() -> None:
    """A row of a single round has no spread."""
    assert alone("flip", "s", [1.0, 2.0, 3.0]) == Row("flip", 2.0, "s", spread=0.5)
    assert alone("memory", "MB", [34.0]) == Row("memory", 34.0, "MB")


def test_a_difference_is_never_nothing() -> None:
    """If a measurement is slower than the same one with more to do, that is noise, not an endless ratio."""
    assert beyond([10.0, 5.0], [7.0, 6.0]) == [3.0, LEAST]


@pytest.mark.parametrize(
    ("row", "printed"),
    [
        (Row("memory", 34.1, "MB"), "memory 34.1 MB"),
        (Row("flip", 0.001234, "s", spread=0.051), "flip 0.00123 s ±5%"),
        (Row("load", 2.0, "s", "nft -f", 6.0, 3.0, 0.5), "load 2 s 3.00x ±50% nft -f 6 s"),
        (
            Row("drop", 30.0, "ns", "on top of it", 120.0, 4.0, 0.1),
            "drop 30 ns 4.00x ±10% on top of it 120 ns (25% of it)",
        ),
    ],
)
def test_how_a_row_is_printed(row: Row, printed: str) -> None:
    """A row shows figure, ratio with its spread, and baseline; a cost beyond the baseline also as a share of it."""
    assert line(row).split() == printed.split()


def test_the_file_holds_the_rows(tmp_path: Path) -> None:
    """The file has the fields that other programs read, null where there is no value."""
    write([alone("memory", "MB", [34.0]), against("load", "s", "nft -f", [2.0], [6.0])], tmp_path / "to" / "bench.json")
    memory, load = json.loads((tmp_path / "to" / "bench.json").read_text())
    assert memory == {"name": "memory", "value": 34.0, "unit": "MB"} | dict.fromkeys(
        ("baseline", "baseline_value", "ratio", "spread")
    )
    assert (load["baseline"], load["baseline_value"], load["ratio"]) == ("nft -f", 6.0, 3.0)
