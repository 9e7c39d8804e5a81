"""Targets and rows agree, and what is said at the end of a bench is true."""

from __future__ import annotations

import pytest

from tests.bench import targets
from tests.bench.__main__ import GROUPS, measure
from tests.bench.report import Row, against, alone
from tests.bench.targets import Target, summary

ROWS = [name for _, names in GROUPS.values() for name in names]


def test_each_target_has_a_row() -> None:
    """A row that is renamed or removed takes its target along; each is there once."""
    assert len(set(ROWS)) == len(ROWS)
    assert {target.name for target in targets.targets()} <= set(ROWS)


@pytest.mark.parametrize(
    "text",
    ['[load]\nreason = "so"', "[load]\nratio = 2.0", '[load]\nratio = 2.0\nmemory = 3\nreason = "so"', "[load]"],
)
def test_a_target_has_one_figure_and_a_reason(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="load"):
        targets.targets(text)


def test_what_is_missed_is_said() -> None:
    """With the figure, what was wanted, and why."""
    rows = [against("load", "s", "nft -f", [1.0], [1.9]), alone("memory", "MB", [60.0]), alone("other", "s", [1.0])]
    wanted = [Target("load", "a batch is faster than text", ratio=2.0), Target("memory", "small hosts", memory=52)]
    said = summary(rows, wanted)
    assert said[0].startswith("2 of 2 targets are missed")
    assert said[1:] == [
        "  load: 1.90x, at least 2x wanted - a batch is faster than text",
        "  memory: 60.0 MB, at most 52 wanted - small hosts",
    ]


def test_what_is_reached_is_said() -> None:
    """In one line; exactly at the target is reached."""
    rows = [against("load", "s", "nft -f", [1.0], [2.0]), alone("memory", "MB", [52.0])]
    wanted = [Target("load", "so", ratio=2.0), Target("memory", "so", memory=52)]
    [said] = summary(rows, wanted)
    assert said.startswith("All 2 targets are reached")
    assert summary(rows, []) == []


def test_a_target_without_a_row_is_a_failure() -> None:
    """Or a target would be reached by taking the row away."""
    with pytest.raises(LookupError, match="gone"):
        summary([], [Target("gone", "so", ratio=2.0)])


@pytest.mark.parametrize("yielded", [(), ("right", "wrong"), ("wrong",)])
def test_rows_are_those_that_are_named(monkeypatch: pytest.MonkeyPatch, yielded: tuple[str, ...]) -> None:
    """Else what the other tests hold of the names would not be about the rows."""
    monkeypatch.setitem(GROUPS, "some", (lambda _: iter([Row(name, 1.0, "s") for name in yielded]), ("right",)))
    with pytest.raises(LookupError, match="some"):
        measure(["some"])


def test_rows_that_are_named_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And printed as they come."""
    monkeypatch.setitem(GROUPS, "some", (lambda _: iter([Row("right", 1.0, "s")]), ("right",)))
    assert measure(["some"]) == [Row("right", 1.0, "s")]
    assert capsys.readouterr().out.split() == ["right", "1", "s"]
