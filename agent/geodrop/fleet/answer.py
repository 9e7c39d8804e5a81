# SPDX-License-Identifier: Apache-2.0
"""What one host said of itself: `geodrop status --json`, fetched into a file. Reading needs neither kernel nor rights.

A file that another host wrote is foreign input: its size, its numbers of values and every text have bounds, and only
what the table shows is kept of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from geodrop import utc
from geodrop.errors import DataError, not_opened
from geodrop.inputs import read_regular
from geodrop.report.state import State
from geodrop.ruleset.fields import (
    LAST_MOMENT,
    Bounds,
    Invalid,
    choice,
    decode,
    flag,
    listing,
    number,
    optional,
    record,
    shown,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from geodrop.ruleset.fields import Field

T = TypeVar("T")

READS = 2
"""The schema of `status --json` that is read here."""
BOUNDS = Bounds(4 << 20, 200_000)
"""A status is a few KB; with 1,000 exemptions it is some 300 KB."""
MANY = 100_000
"""Most elements of a list, and most of what is counted one by one."""
LONG, SHORT = 300, 40
"""Characters that are kept of a sentence and of a word."""
PROBLEMS = 8
"""Problems of one host that are kept."""
MOST = (1 << 64) - 1
MINUTE = 60

FETCH = "fetch `geodrop status --json` of this host again"

_DIGEST = re.compile(r"[0-9a-f]{0,64}")


@dataclass(frozen=True, slots=True)
class Failure:
    """The last request to a host, which failed: `time` as ISO 8601, its origin in the history, and the error."""

    time: str
    origin: str
    error: str | None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The status of one host. What its version of geodrop does not say, or what is not known, is None.

    `answered` is when it was read, in seconds since the epoch by the clock of the host. `denied_dropped`: of packets
    from denied sources, put to what is in force, at least one was dropped. `asked` is the engine of agent.yaml,
    `engines` what judges packets: engine and attach. `built` is when its oldest database was built, in seconds since
    the epoch. `drift` is how many differences from the ruleset the kernel has now, `repaired` how many repairs the
    daemon has made. `drops` are packets a minute. `problem_count` may be more than there are `problems`.
    """

    host: str
    version: str | None
    state: State
    healthy: bool
    answered: float
    generation: int
    digest: str
    asked: str | None
    engines: tuple[str, ...]
    denied_dropped: bool
    built: int | None
    drift: int | None
    repaired: int
    drops: float | None
    failure: Failure | None
    deadline: str | None
    problems: tuple[str, ...]
    problem_count: int


@dataclass(frozen=True, slots=True)
class Silence:
    """A host without a status: `what` is unreachable, failed or unreadable, `why` is a sentence."""

    host: str
    what: str
    why: str
    next_step: str = ""
    exit_code: int = 1


def read(path: Path) -> HostStatus | Silence:
    """Return what the host said that this file is named after. Raises nothing of what may be wrong with the file."""
    host = path.name.removesuffix(".json")
    try:
        content = read_regular(path, BOUNDS.size)
    except OSError as error:
        failure = not_opened(str(path), error, DataError, FETCH)
        return Silence(host, "unreadable", failure.message, failure.next_step, failure.exit_code)
    try:
        return _made(host, decode(content, BOUNDS))
    except Invalid as invalid:
        return Silence(host, "unreadable", f"{path}: {invalid}", FETCH, DataError.exit_code)


def _made(host: str, value: object) -> HostStatus | Silence:
    """Tell apart a status, the failure of the command, and what was written in place of a host that is silent."""
    if isinstance(value, dict) and "unreachable" in value and "state" not in value:
        silent = _SILENT(value)
        what = "unreachable" if silent["unreachable"] else "failed"
        return Silence(host, what, silent.get("message") or "no answer")
    if isinstance(value, dict) and "error" in value and "state" not in value:
        failed = _FAILED(value)
        return Silence(host, "failed", failed["error"], failed.get("next_step", ""))
    return _answer(host, _STATUS(value))


def _text(most: int) -> Field[str]:
    """Return a field for any text, of which `most` characters are kept."""

    def field(value: object) -> str:
        if type(value) is not str:
            raise Invalid(f"{shown(value)} is no text")
        return value if len(value) <= most else f"{value[: most - 3]}..."

    return field


def _digest(value: object) -> str:
    if type(value) is not str or not _DIGEST.fullmatch(value):
        raise Invalid(f"{shown(value)} is no digest")
    return value


def _moment(value: object) -> float:
    try:
        return utc.epoch(_text(SHORT)(value))
    except ValueError as error:
        raise Invalid(str(error)) from None


def _schema(value: object) -> int:
    if type(value) is not int or value != READS:
        raise Invalid(f"{shown(value)} is not {READS}, which is read here: use the geodrop of that host")
    return value


def _engine(engine: str, links: tuple[str, ...], attach: str | None = None) -> str | None:
    """Return what judges packets on the links of an interface; None if it waits for one."""
    if not links:
        return None
    return f"{engine} {attach}" if attach else engine


def _one(**fields: T) -> T:
    """Return the value of an object of which only one key is read."""
    [value] = fields.values()
    return value


_SILENT: Field[dict[str, Any]] = record(dict, ("message",), others=True, unreachable=flag, message=_text(LONG))
_FAILED: Field[dict[str, Any]] = record(dict, ("next_step",), others=True, error=_text(LONG), next_step=_text(LONG))
_STATUS: Field[dict[str, Any]] = record(
    dict,
    ("version", "engine", "drift"),  # a status of an earlier version lacks them
    others=True,
    schema=_schema,
    version=_text(SHORT),
    state=choice(*State),
    healthy=flag,
    problems=listing(_text(LONG), MANY),
    observed=record(
        dict, others=True, time=_moment, probes=listing(record(_one, others=True, verdict=_text(SHORT)), MANY)
    ),
    generation=whole(0, MOST),
    digest=_digest,
    engine=_text(SHORT),
    interfaces=listing(
        record(
            _engine,
            others=True,
            engine=choice("nftables", "xdp"),
            attach=optional(choice("native", "generic")),
            links=listing(_text(SHORT), MANY),
        ),
        MANY,
    ),
    databases=listing(record(_one, others=True, built=optional(whole(0, LAST_MOMENT))), MANY),
    drift=optional(whole(0, MOST)),
    repaired=whole(0, MOST),
    dropped=optional(record(dict, others=True, packets=whole(0, MOST), seconds=number(0, MOST))),
    last_failure=optional(
        record(Failure, others=True, time=_text(SHORT), origin=_text(SHORT), error=optional(_text(LONG)))
    ),
    confirm=optional(record(_one, others=True, deadline=_text(SHORT))),
)
"""What the table shows of the object of `status --json` (report/status.py); all other keys are passed over."""


def _answer(host: str, said: Mapping[str, Any]) -> HostStatus:
    built = [one for one in said["databases"] if one is not None]
    dropped = said["dropped"]
    return HostStatus(
        host=host,
        version=said.get("version"),
        state=State(said["state"]),
        healthy=said["healthy"],
        answered=said["observed"]["time"],
        generation=said["generation"],
        digest=said["digest"],
        asked=said.get("engine"),
        engines=tuple(sorted({one for one in said["interfaces"] if one})),
        denied_dropped="drop" in said["observed"]["probes"],
        built=min(built, default=None),
        drift=said.get("drift"),
        repaired=said["repaired"],
        drops=dropped["packets"] * MINUTE / dropped["seconds"] if dropped and dropped["seconds"] else None,
        failure=said["last_failure"],
        deadline=said["confirm"],
        problems=said["problems"][:PROBLEMS],
        problem_count=len(said["problems"]),
    )
