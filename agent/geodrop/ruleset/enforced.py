# SPDX-License-Identifier: Apache-2.0
"""What a ruleset drops, in a few words: for each service the lines under which it drops, its mode and its dates.

The audit keeps this for years, and needs neither the ruleset nor its database to say what was dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.policy.model import MAX_STEPS, Mode, Rung, Verdict
from geodrop.ruleset.fields import LAST_MOMENT, choice, listing, optional, record, text, whole
from geodrop.ruleset.meta import MAX_CLASSES
from geodrop.ruleset.ramp import BUCKETS, share_at, share_text

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset

WORDS: tuple[str, ...] = (Rung.DEFAULT, Rung.UNKNOWN)
"""Keys of a service that decide where no line does: under `default: deny` some 200 regions are one line here."""

REGIONS: tuple[str, ...] = (Rung.SUBDIVISION, Rung.COUNTRY, Rung.CONTINENT)
_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
MAX_SERVICES = 1_000


@dataclass(frozen=True, slots=True)
class EnforcedService:
    """One service: the `lines` under which it drops, or would drop if it were enforced.

    A line is a region, a list or a prefix, as the counters name it, or one of WORDS. Where `default` is among them,
    `passes` are the regions that do not come to it. `mode` is "enforce" or "monitor", `starts` in seconds since the
    epoch, `ramp` as in ruleset.meta.ServiceSpec.
    """

    name: str
    mode: str
    starts: int | None
    ramp: tuple[tuple[int, int], ...]
    lines: tuple[str, ...]
    passes: tuple[str, ...] = ()

    def drops(self, line: str) -> bool:
        """Return whether what a line of another policy names is dropped here too, by that line or by default."""
        if line in self.lines:
            return True
        if Rung.DEFAULT not in self.lines or not _REGION.fullmatch(line):
            return False
        # A subdivision that is not named passes with its country, and a country in part with one of its subdivisions.
        known = {line, line.partition("-")[0]}
        return not any(one in known or one.startswith(f"{line}-") for one in self.passes)

    def lacks(self, now: float) -> str:
        """Return why less than everything is dropped at `now`, in seconds since the epoch; "" if nothing is missing."""
        if self.mode != Mode.ENFORCE:
            return "monitor"
        if self.starts is not None and now < self.starts:
            return "before its start"
        share = share_at(self.ramp, now)
        return "" if share >= BUCKETS else f"share {share_text(share)}"

    def moments(self) -> list[int]:
        """Return when what is dropped changes by the clock, in seconds since the epoch."""
        return [*([] if self.starts is None else [self.starts]), *(moment for moment, _ in self.ramp if moment)]


def enforced(ruleset: Ruleset) -> tuple[EnforcedService, ...]:
    """Return what each service of a ruleset drops."""
    meta = ruleset.meta
    count = len(meta.services)
    found = []
    for number, service in enumerate(meta.services):
        used = {row for name in ("rows", "rows_embedded") for row in ruleset.sections[name].cast("H")[number::count]}
        rows = [meta.rows[row] for row in used]
        lines = {
            row.rung if row.rung in WORDS else meta.label(row.klass) or row.line
            for row in rows
            if row.verdict == Verdict.DROP
        }
        passes = {meta.label(row.klass) for row in rows if row.verdict == Verdict.ACCEPT and row.rung in REGIONS}
        by_default = sorted(filter(None, passes)) if Rung.DEFAULT in lines else ()
        found.append(
            EnforcedService(
                service.name, service.mode, service.starts, service.ramp, tuple(sorted(lines)), tuple(by_default)
            )
        )
    return tuple(found)


_MOMENT = whole(0, LAST_MOMENT)
_STEPS = listing(listing(_MOMENT, 2, 2), MAX_STEPS)


_LINES = listing(text(1_024), MAX_CLASSES + len(WORDS))


def _ramp(value: object) -> tuple[tuple[int, int], ...]:
    return tuple((moment, share) for moment, share in _STEPS(value))


ENFORCED = listing(
    record(
        EnforcedService,
        name=text(256),
        mode=choice(*Mode),
        starts=optional(_MOMENT),
        ramp=_ramp,
        lines=_LINES,
        passes=_LINES,
    ),
    MAX_SERVICES,
)
"""The JSON form of what `enforced` returns."""
