# SPDX-License-Identifier: Apache-2.0
"""`geodrop fleet`: the status of many hosts in one table, the odd ones first."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from geodrop import messages, utc
from geodrop.columns import Column, heading, row
from geodrop.errors import ApplyError
from geodrop.fleet.answer import HostStatus, Silence
from geodrop.fleet.compare import DIGITS, compare, digest, judging, version
from geodrop.fleet.folder import read_folder
from geodrop.report.state import State
from geodrop.text import harmless

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from geodrop.fleet.compare import Fleet, Host, Share

SCHEMA = 1
DAY = 86_400
BETWEEN = "  "
WIDEST = 40
"""Characters that widen a column; a longer cell moves the cells behind it to the right."""
NAMED = 5
"""Odd hosts that the last line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fleet`."""
    parser.add_argument(
        "folder", metavar="DIR", help="a folder with the output of `geodrop status --json` of each host, as HOST.json"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Return 0: all hosts are alike and well; 1: some are odd; 65, 77: a file cannot be read."""
    fleet = compare(read_folder(args.folder), time.time())
    if args.json:
        print(json.dumps(as_object(fleet)))
    else:
        messages.say("\n".join(lines(fleet)))
    return exit_code(fleet)


def exit_code(fleet: Fleet) -> int:
    """Return the exit code; a file that cannot be read weighs more than an odd host."""
    codes = [host.said.exit_code if isinstance(host.said, Silence) else ApplyError.exit_code for host in fleet.odd]
    return max(codes, default=0)


def as_object(fleet: Fleet) -> dict[str, Any]:
    """Return the object of `fleet --json`: texts as the hosts said them, long ones cut."""
    usual = fleet.usual
    return {
        "schema": SCHEMA,
        "alike": not fleet.odd,
        "newest": None if usual.newest is None else utc.moment(usual.newest),
        "usual": {
            "version": _share(usual.version),
            "digest": _share(usual.digest),
            "state": _share(usual.state),
            "engines": [{"engine": asked, **_share(share)} for asked, share in usual.engines.items()],
        },
        "hosts": [_host(host) for host in fleet.hosts],
    }


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "hosts": share.count, "of": share.total}


def _host(host: Host) -> dict[str, Any]:
    said = host.said
    shared = {"host": host.name, "odd": bool(host.reasons), "reasons": host.reasons, "notes": host.notes}
    if isinstance(said, Silence):
        return {**shared, "answer": said.what, "error": said.why, "next_step": said.next_step, "exit": said.exit_code}
    return {
        **shared,
        "answer": "status",
        "time": utc.moment(said.answered),
        "version": said.version,
        "generation": said.generation,
        "digest": said.digest,
        "state": said.state,
        "healthy": said.healthy,
        "observed_drop": utc.moment(said.answered) if said.denied_dropped else None,
        "engine": said.asked,
        "engines": said.engines,
        "database_built": said.built,
        "drift": said.drift,
        "repaired": said.repaired,
        "dropped_per_minute": said.drops,
        "last_failure": said.failure
        and {"time": said.failure.time, "origin": said.failure.origin, "error": said.failure.error},
    }


def lines(fleet: Fleet) -> Iterator[str]:
    """Yield the table, odd hosts first, each with its reasons below it, and a last line that sums it up.

    On a terminal the last columns are left out where there is no room, and said.
    """
    cells = [[_plain(cell(host.said)) for _, _, cell in COLUMNS] for host in fleet.hosts]
    columns = [
        Column(name, max(len(name), *(min(len(one[place]), WIDEST) for one in cells)), align)
        for place, (name, align, _) in enumerate(COLUMNS)
    ]
    fitting = _fitting(columns)
    yield heading(columns[:fitting], BETWEEN)
    for host, one in zip(fleet.hosts, cells, strict=True):
        yield _painted(row(columns[:fitting], one[:fitting], BETWEEN), host)
        for text in (*host.reasons, *host.notes):
            yield messages.entry("", _plain(text), 4)
    if left := columns[fitting:]:
        yield f"no room for {', '.join(column.heading for column in left)}; --json has all"
    yield from _sum(fleet)


def _fitting(columns: Sequence[Column]) -> int:
    """Return how many columns the terminal has room for, at least one; all of them if there is no terminal."""
    room = messages.columns() if sys.stdout.isatty() else None
    fitting, taken = 0, -len(BETWEEN)
    for column in columns:
        taken += len(BETWEEN) + column.width
        if fitting and room is not None and taken > room:
            break
        fitting += 1
    return fitting


def _painted(line: str, host: Host) -> str:
    if not host.reasons:
        return line
    bad = isinstance(host.said, Silence) or host.said.state is State.NOT_ENFORCING
    return messages.paint(line, messages.RED if bad else messages.YELLOW)


def _sum(fleet: Fleet) -> Iterator[str]:
    count = len(fleet.hosts)
    hosts = f"{count:,} {'host' if count == 1 else 'hosts'}"
    if not fleet.odd:
        yield messages.paint(f"{hosts}, alike and well" if count > 1 else f"{hosts}, well", messages.GREEN)
        return
    named = ", ".join(_plain(host.name) for host in fleet.odd[:NAMED])
    more = f" and {len(fleet.odd) - NAMED:,} more" if len(fleet.odd) > NAMED else ""
    are = "is" if len(fleet.odd) == 1 else "are"
    yield messages.paint(f"{len(fleet.odd):,} of {hosts} {are} odd: {named}{more}", messages.YELLOW)


def _plain(text: str) -> str:
    """Return foreign text on one line, without what would steer the terminal."""
    return harmless(" ".join(text.split()))


def _of_answer(cell: Callable[[HostStatus], str]) -> Callable[[HostStatus | Silence], str]:
    return lambda said: cell(said) if isinstance(said, HostStatus) else "-"


def _state(said: HostStatus | Silence) -> str:
    return said.state if isinstance(said, HostStatus) else said.what


def _observed_drop(said: HostStatus) -> str:
    return utc.moment(said.answered).partition("T")[2] if said.denied_dropped else "none"


def _drops(said: HostStatus) -> str:
    return "-" if said.drops is None else f"{said.drops:,.0f}"


def _age(said: HostStatus) -> str:
    return "-" if said.built is None else f"{max(0, int(said.answered - said.built) // DAY):,} d"


def _drift(said: HostStatus) -> str:
    """Return what differs now, and how many differences were repaired since the daemon's start."""
    repaired = f"{said.repaired:,} repaired" if said.repaired else ""
    return ", ".join(filter(None, [f"{said.drift:,} now" if said.drift else "", repaired])) or (
        "-" if said.drift is None else "none"
    )


def _failure(said: HostStatus) -> str:
    return f"{said.failure.time} {said.failure.origin}" if said.failure else "none"


COLUMNS: tuple[tuple[str, str, Callable[[HostStatus | Silence], str]], ...] = (
    ("HOST", "<", lambda said: said.host),
    ("STATE", "<", _state),
    ("DIGEST", "<", _of_answer(lambda said: digest(said)[:DIGITS])),
    ("ENGINE", "<", _of_answer(judging)),
    ("DROPS/MIN", ">", _of_answer(_drops)),
    ("DROP SEEN", "<", _of_answer(_observed_drop)),
    ("VERSION", "<", _of_answer(version)),
    ("DATABASE", ">", _of_answer(_age)),
    ("DRIFT", "<", _of_answer(_drift)),
    ("GENERATION", ">", _of_answer(lambda said: str(said.generation or "-"))),
    ("LAST FAILURE", "<", _of_answer(_failure)),
)
"""Each column with its heading, its alignment and what it shows; the most important ones come first."""
