# SPDX-License-Identifier: Apache-2.0
"""Targets and rows agree, and the text at the end of a bench is true."""

from __future__ import annotations

import pytest

from tests.bench import targets
from tests.bench.__main__ import GROUPS, measure
from tests.bench.report import Row, against, alone
from tests.bench.targets import Target, summary

ROWS = [name for _, names in GROUPS.values() for name in names]


def test_each_target_has_a_row() -> None:
    """Each target has exactly one row: a renamed or removed row takes its target along."""
    assert len(set(ROWS)) == len(ROWS)
    assert {target.name for target in targets.targets()} <= set(ROWS)


@pytest.mark.parametrize(
    "text",
    ['[load]\nreason = "so"', "[load]\nratio = 2.0", '[load]\nratio = 2.0\nmemory = 3\nreason = "so"', "[load]"],
)
def test_a_target_has_one_figure_and_a_reason(text: str) -> None:
    """A target with two figures, none, or without a reason is refused."""
    with pytest.raises(ValueError, match="load"):
        targets.targets(text)


def test_what_is_missed_is_said() -> None:
    """A missed target is printed with the row's figure, the target, and the reason."""
    rows = [against("load", "s", "nft -f", [1.0], [1.9]), alone("memory", "MB", [60.0]), alone("other", "s", [1.0])]
    wanted = [Target("load", "a batch is faster than text", ratio=2.0), Target("memory", "small hosts", memory=52)]
    said = summary(rows, wanted)
    assert said[0].startswith("2 of 2 targets are missed")
    assert said[1:] == [
        "  load: 1.90x, at least 2x wanted - a batch is faster than text",
        "  memory: 60.0 MB, at most 52 wanted - small hosts",
    ]


def test_what_is_reached_is_said() -> None:
    """All targets reached gives one line; a figure exactly at the target reaches it."""
    rows = [against("load", "s", "nft -f", [1.0], [2.0]), alone("memory", "MB", [52.0])]
    wanted = [Target("load", "so", ratio=2.0), Target("memory", "so", memory=52)]
    [said] = summary(rows, wanted)
    assert said.startswith("All 2 targets are reached")
    assert summary(rows, []) == []


def test_a_target_without_a_row_is_a_failure() -> None:
    """A target without a row is an error, or removing the row would reach it."""
    with pytest.raises(LookupError, match="gone"):
        summary([], [Target("gone", "so", ratio=2.0)])


@pytest.mark.parametrize("yielded", [(), ("right", "wrong"), ("wrong",)])
def test_rows_are_those_that_are_named(monkeypatch: pytest.MonkeyPatch, yielded: tuple[str, ...]) -> None:
    """Rows with unexpected names are an error: the tests above check the names in GROUPS."""
    monkeypatch.setitem(GROUPS, "some", (lambda _: iter([Row(name, 1.0, "s") for name in yielded]), ("right",)))
    with pytest.raises(LookupError, match="some"):
        measure(["some"])


def test_rows_that_are_named_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows are printed as they come."""
    monkeypatch.setitem(GROUPS, "some", (lambda _: iter([Row("right", 1.0, "s")]), ("right",)))
    assert measure(["some"]) == [Row("right", 1.0, "s")]
    assert capsys.readouterr().out.split() == ["right", "1", "s"]
