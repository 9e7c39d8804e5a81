# SPDX-License-Identifier: Apache-2.0
"""The bench's output: a row for each figure, compared with a baseline measured in the same run."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ON_TOP_OF = "on top of "
"""How the name of a baseline begins that is part of the measured value: the row shows the rest, and its share of it."""

LEAST = 0.1
"""The smallest difference of two measurements that counts, by unit: below it lies noise, and maybe zero."""


@dataclass(frozen=True)
class Row:
    """One figure. `unit` is s, ns or MB; `ratio` is `baseline_value` by `value`: above 1 is better than the baseline.

    `spread` is the largest deviation among the rounds that count, as a share of the ratio, or of the value if there is
    no ratio. It is None after a single round.
    """

    name: str
    value: float
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None
    ratio: float | None = None
    spread: float | None = None


def alone(name: str, unit: str, values: Sequence[float]) -> Row:
    """Return a row without a baseline."""
    value = statistics.median(values)
    return Row(name, value, unit, spread=_spread(values, value))


def against(name: str, unit: str, baseline: str, mine: Sequence[float], theirs: Sequence[float]) -> Row:
    """Return a row of a figure that should be small, and its baseline, from values of the same rounds."""
    value, baseline_value = statistics.median(mine), statistics.median(theirs)
    ratio = baseline_value / value
    ratios = [other / one for one, other in zip(mine, theirs, strict=True)]
    return Row(name, value, unit, baseline, baseline_value, ratio, _spread(ratios, ratio))


def beyond(values: Sequence[float], common: Sequence[float]) -> list[float]:
    """Return each value minus the baseline that is part of it, round by round."""
    return [max(value - part, LEAST) for value, part in zip(values, common, strict=True)]


def alternately(rounds: int, *measured: Callable[[], float]) -> list[list[float]]:
    """Measure A, B, A, B ...: cores are few and noisy, so figures to compare are measured alternately."""
    results: list[list[float]] = [[] for _ in measured]
    for _ in range(rounds):
        for result, measure in zip(results, measured, strict=True):
            result.append(measure())
    return results


def undisturbed(results: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the quietest third of rounds: those whose measurements together took the least time.

    A neighbour on the same core halves the speed of a whole round. A longer measurement has no more weight: each is
    divided by its own median.
    """
    usual = [statistics.median(values) for values in results]

    def slowness(values: Sequence[float]) -> float:
        return sum(value / middle for value, middle in zip(values, usual, strict=True))

    rounds = sorted(zip(*results, strict=True), key=slowness)
    return [list(values) for values in zip(*rounds[: -(-len(rounds) // 3)], strict=True)]


def compared(rounds: int, *measured: Callable[[], float]) -> list[list[float]]:
    """Measure alternately and return the quietest third."""
    return undisturbed(alternately(rounds, *measured))


def show(row: Row) -> None:
    """Print a row as soon as it is known."""
    print(line(row), flush=True)


def line(row: Row) -> str:
    """Return a row as it is printed: the figure, its ratio with the spread, and the baseline."""
    said = f"{row.name:<32}{_figure(row.value):>10} {row.unit:<3}"
    spread = "" if row.spread is None else f"±{row.spread:.0%}"
    if row.baseline is None or row.ratio is None or row.baseline_value is None:
        return f"{said}{'':>9} {spread}".rstrip()
    of = f" ({row.value / row.baseline_value:.0%} of it)" if row.baseline.startswith(ON_TOP_OF) else ""
    return f"{said}{row.ratio:>8.2f}x {spread:<6} {row.baseline} {_figure(row.baseline_value)} {row.unit}{of}"


def write(rows: Sequence[Row], path: Path) -> None:
    """Write build/bench.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="ascii")


def _spread(values: Sequence[float], middle: float) -> float | None:
    return max(abs(value / middle - 1) for value in values) if len(values) > 1 else None


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
