# SPDX-License-Identifier: Apache-2.0
"""The task `simulate` of the compile child: logs are read where nothing can be opened or sent."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.compile.sandbox import STANDARD_INPUT
from geodrop.errors import DataError, UsageError
from geodrop.simulate.blocks import blocks
from geodrop.simulate.report import told
from geodrop.simulate.simulation import Simulation
from geodrop.simulate.verdicts import Verdicts
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.ruleset.model import Ruleset

PROGRESS_SECONDS = 2.0


def simulate(
    ruleset: Ruleset, before: Ruleset | None, logs: Sequence[tuple[str, int]], options: Mapping[str, Any]
) -> int:
    """Read logs, each with its name and descriptor, and print what the ruleset would do to their sources.

    `options`: `service` (None for all), `field`, `json`, and `progress` for lines on stderr meanwhile. Raises
    UsageError for an unknown service, and DataError if not one line can be read.
    """
    after = verdicts(ruleset, options["service"])
    earlier = verdicts(before, options["service"], missing=True) if before else None
    simulation = Simulation(after, earlier, options["field"])
    for name, descriptor in logs:
        simulation.open(name)
        shown = harmless(name)
        said = time.monotonic()
        try:
            for block in blocks(descriptor):
                simulation.add(block)
                if options["progress"] and time.monotonic() - said >= PROGRESS_SECONDS:
                    said = time.monotonic()
                    messages.say(f"{shown}: {_progress(descriptor)}{simulation.lines:,} lines", sys.stderr, flush=True)
        except DataError as failure:
            messages.warning(f"{shown}: behind line {simulation.lines:,} {failure.message}; {failure.next_step}")
    if not simulation.requests:
        raise _nothing(simulation)
    found = simulation.as_json()
    if options["json"]:
        print(json.dumps(found))
    else:
        for line in told(found):
            messages.say(line)
    return 0


def verdicts(ruleset: Ruleset, service: str | None, *, missing: bool = False) -> Verdicts:
    """Return the verdicts of one service or all. Raises UsageError unless a `missing` one may drop nothing."""
    names = frozenset(one.name for one in ruleset.meta.services)
    if service is not None and service not in names and not missing:
        raise UsageError(f"there is no service {service!r}", f"name one of: {', '.join(sorted(names))}")
    return Verdicts(ruleset, names if service is None else names & {service})


def _progress(descriptor: int) -> str:
    """Return how much of a file was read; nothing for a pipe, whose length is not known."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return ""
    return f"{min(os.lseek(descriptor, 0, os.SEEK_CUR) / found.st_size, 1):.0%}, "


def _nothing(simulation: Simulation) -> DataError:
    first = simulation.first
    if first is None:
        return DataError("the log has no lines", "name a log with requests, or - for standard input")
    where = f"{first.file}: " if first.file != STANDARD_INPUT else ""
    step = "give an access log of nginx or Apache, JSON objects (--field NAME) or addresses, one a line"
    if "\0" in first.text or "\\xff\\xfe" in first.text:
        step = "it looks like UTF-16: convert it with iconv -f UTF-16 -t UTF-8"
    elif first.text.startswith("{"):
        step = "name the field that has the address: --field NAME (a.b for an object in an object)"
    return DataError(
        f"{where}not one of {simulation.unreadable:,} lines can be read (first: line {first.line:,}: {first.text})",
        step,
    )
