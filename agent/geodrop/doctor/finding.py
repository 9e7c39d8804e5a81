# SPDX-License-Identifier: Apache-2.0
"""What a probe found: a fact, whether it is good, and if not, what does not work and the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import GeodropError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK, MISSING, NOTE = "ok", "missing", "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`status` is ok, missing or note (a fact that is neither); `found` is what was seen.

    `cost` is what does not work without it, `next_step` what to do. `stops` are the engines that cannot enforce at all
    while it is missing.
    """

    name: str
    status: str
    found: str
    cost: str = ""
    next_step: str = ""
    stops: tuple[str, ...] = ()


def asked(name: str, found: str, probe: Callable[[], object], cost: str, stops: Sequence[str] = ()) -> Finding:
    """Run a probe and return its finding: missing if the probe raises GeodropError, otherwise ok with `found`."""
    try:
        probe()
    except GeodropError as error:
        return Finding(name, MISSING, error.message, cost, error.next_step, tuple(stops))
    return Finding(name, OK, found)


def able(findings: Sequence[Finding], engine: str) -> bool:
    """Return whether an engine can enforce here; for auto, whether at least one engine can."""
    engines = ("nftables", "xdp") if engine == "auto" else (engine,)
    stopped = {one for finding in findings if finding.status == MISSING for one in finding.stops}
    return any(one not in stopped for one in engines)
