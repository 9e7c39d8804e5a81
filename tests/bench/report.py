"""What the bench prints and writes: a row for each figure, with the baseline measured beside it in the same run."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure. `unit` is s, ns, MB or x; `ratio` above 1 means better than the baseline."""

    name: str
    value: float
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None
    ratio: float | None = None


def against(name: str, value: float, unit: str, baseline: str, baseline_value: float) -> Row:
    """A row of something that should be small, held against a baseline."""
    return Row(name, value, unit, baseline, baseline_value, baseline_value / value)


def alternately(rounds: int, *measured: Callable[[], float]) -> list[list[float]]:
    """Measure A, B, A, B ...: cores are few and noisy, so what is compared is measured side by side."""
    results: list[list[float]] = [[] for _ in measured]
    for _ in range(rounds):
        for result, measure in zip(results, measured, strict=True):
            result.append(measure())
    return results


def undisturbed(results: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of rounds that were measured side by side, the third in which all together took the least time.

    For what takes nanoseconds: a neighbour on the same core slows a whole round down to half its speed. And for what
    takes a millisecond: it takes the core away for longer than that.
    """
    rounds = sorted(zip(*results, strict=True), key=sum)
    return [list(values) for values in zip(*rounds[: -(-len(rounds) // 3)], strict=True)]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def show(row: Row) -> None:
    """Print a row as soon as it is there."""
    line = f"{row.name:<32}{_figure(row.value):>12} {row.unit:<4}"
    if row.ratio is not None and row.baseline_value is not None:
        line += f"{row.ratio:>8.2f}x  {row.baseline} {_figure(row.baseline_value)} {row.unit}"
    print(line, flush=True)


def write(rows: Sequence[Row], path: Path) -> None:
    """Write build/bench.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="ascii")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
