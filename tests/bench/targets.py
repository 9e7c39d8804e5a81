# SPDX-License-Identifier: Apache-2.0
"""The targets of the bench's rows, from targets.toml, and which rows missed theirs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.report import Row

FILE = Path(__file__).with_name("targets.toml")


@dataclass(frozen=True)
class Target:
    """At least this ratio, or at most this many MB; `reason` says why."""

    name: str
    reason: str
    ratio: float | None = None
    memory: float | None = None

    def missed_by(self, row: Row) -> str:
        """Return the row's figure if it misses the target, otherwise an empty string."""
        if self.memory is not None:
            return f"{row.value:.1f} MB, at most {self.memory:g} wanted" if row.value > self.memory else ""
        if self.ratio is None or row.ratio is None:
            raise ValueError(f"{self.name}: a target without a figure, or a row without a ratio")
        return f"{row.ratio:.2f}x, at least {self.ratio:g}x wanted" if row.ratio < self.ratio else ""


def targets(text: str | None = None) -> list[Target]:
    """Read all targets; raises ValueError for one that has not exactly one figure, or no reason."""
    read = []
    for name, given in tomllib.loads(FILE.read_text(encoding="utf-8") if text is None else text).items():
        if set(given) not in ({"ratio", "reason"}, {"memory", "reason"}) or not given["reason"]:
            raise ValueError(f"{name}: give a ratio or a memory, and a reason")
        read.append(Target(name, **given))
    return read


def summary(rows: Sequence[Row], wanted: Iterable[Target]) -> list[str]:
    """Return the final text: which rows miss their targets; raises LookupError if a target has no row."""
    found = {row.name: row for row in rows}
    wanted = list(wanted)
    if absent := [target.name for target in wanted if target.name not in found]:
        raise LookupError(f"{FILE.name} names rows that do not exist: {', '.join(absent)}")
    if not wanted:
        return []
    missed = [(target, said) for target in wanted if (said := target.missed_by(found[target.name]))]
    if not missed:
        return [f"All {len(wanted)} targets are reached ({FILE.name})."]
    return [
        f"{len(missed)} of {len(wanted)} targets are missed ({FILE.name}):",
        *(f"  {target.name}: {said} - {target.reason}" for target, said in missed),
    ]
