# SPDX-License-Identifier: Apache-2.0
"""Which hosts of a fleet are odd, and why: compared with what most hosts say, and with what each should be. Pure.

What alike means, and what may differ: docs/decisions/0047-fleet-view.md.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.fleet.answer import HostStatus, Silence
from geodrop.report.state import State, exit_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

OLD = 3_600
"""Seconds that a status may be older than the newest one, before it may tell of another day."""
AHEAD = 60
"""Seconds that the clock of a host may be ahead of this one. A policy begins to drop by the clock of each host."""
DIGITS = 12
"""Digits of a digest that are shown, as `status` shows them."""

_NUMBERS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Share:
    """The most common value of something, and how many of how many hosts have it. None: another one is as common."""

    value: str | None
    count: int
    total: int

    def reason(self, name: str, value: str, among: str = "", digits: int | None = None) -> Iterator[str]:
        """Yield the reason that a host is odd if it has another value; of each value `digits` characters are told."""
        if self.value is None:
            yield f"{name} {value[:digits]}; no other is more common"
        elif value != self.value:
            yield f"{name} {value[:digits]}; {self.count:,} of {self.total:,} hosts{among}: {self.value[:digits]}"


@dataclass(frozen=True, slots=True)
class Usual:
    """What most hosts say, each thing by itself.

    `engines` has what judges packets by the engine that agent.yaml asks for. `newest` is when the last host was asked,
    in seconds since the epoch; None if no host answered.
    """

    version: Share
    digest: Share
    state: Share
    engines: Mapping[str | None, Share]
    newest: float | None


@dataclass(frozen=True, slots=True)
class Host:
    """A host, what it said, each reason why it is odd, and notes, which make no host odd."""

    said: HostStatus | Silence
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the name of the host."""
        return self.said.host


@dataclass(frozen=True, slots=True)
class Fleet:
    """All hosts, odd ones first, and what is usual among them."""

    hosts: tuple[Host, ...]
    usual: Usual

    @property
    def odd(self) -> tuple[Host, ...]:
        """Return the hosts that are odd."""
        return tuple(host for host in self.hosts if host.reasons)


def compare(said: Sequence[HostStatus | Silence], now: float) -> Fleet:
    """Compare hosts with each other. `now` is in seconds since the epoch, by the clock of this machine."""
    usual = _usual([one for one in said if isinstance(one, HostStatus)], now)
    hosts = [Host(one, tuple(_reasons(one, usual, now)), tuple(_notes(one))) for one in said]
    return Fleet(tuple(sorted(hosts, key=_place)), usual)


def _place(host: Host) -> tuple[int, list[tuple[int, str]]]:
    """Return the sort key: how bad it is, then the name, in which numbers count as numbers."""
    said = host.said
    if isinstance(said, Silence):
        rank = 0
    elif said.state is State.NOT_ENFORCING:
        rank = 1
    elif host.reasons:
        rank = 2 if _unwell(said) else 3
    else:
        rank = 4 if host.notes else 5
    pieces = _NUMBERS.split(host.name)
    return rank, [(int(one), "") if place % 2 else (0, one) for place, one in enumerate(pieces)]


def _usual(answers: Sequence[HostStatus], now: float) -> Usual:
    engines: defaultdict[str | None, list[str]] = defaultdict(list)
    for one in answers:
        engines[one.asked].append(judging(one))
    return Usual(
        version=_most(version(one) for one in answers),
        digest=_most(digest(one) for one in answers),
        state=_most(one.state for one in answers),
        engines={asked: _most(found) for asked, found in engines.items()},
        # A host whose clock is ahead must not make all others old.
        newest=max((one.answered for one in answers if one.answered <= now + AHEAD), default=None),
    )


def _most(values: Iterable[str]) -> Share:
    counts = Counter(values)
    first, second = [*counts.most_common(2), (None, 0), (None, 0)][:2]
    return Share(first[0] if first[1] > second[1] else None, first[1], counts.total())


def version(said: HostStatus) -> str:
    """Return the version as it is compared and shown."""
    return said.version or "unknown"


def digest(said: HostStatus) -> str:
    """Return the digest as it is compared."""
    return said.digest or "none"


def judging(said: HostStatus) -> str:
    """Return what judges packets, as it is compared and shown."""
    return ", ".join(said.engines) or "none"


def _unwell(said: HostStatus) -> bool:
    return exit_code(said.state, healthy=said.healthy) != 0


def _reasons(said: HostStatus | Silence, usual: Usual, now: float) -> Iterator[str]:
    if isinstance(said, Silence):
        yield f"{said.why}; next: {said.next_step}" if said.next_step else said.why
        return
    if said.problems and _unwell(said):  # these say why it is in another state
        yield from (f"problem: {problem}" for problem in said.problems)
    elif differs := [*usual.state.reason("state", said.state)]:
        yield from differs
    elif _unwell(said):
        yield f"state {said.state}, as usual here"
    if more := said.problem_count - len(said.problems):
        yield f"{more:,} more problems; next: geodrop status on the host"
    yield from usual.digest.reason("digest", digest(said), digits=DIGITS)
    yield from usual.version.reason("version", version(said))
    among = f" with engine {said.asked}" if said.asked else ""
    yield from usual.engines[said.asked].reason("judged by", judging(said), among)
    if said.answered > now + AHEAD:
        yield f"its clock is {utc.span(said.answered - now)} ahead of this machine's"
    elif usual.newest is not None and usual.newest - said.answered > OLD:
        yield f"answered {utc.span(usual.newest - said.answered)} before the newest answer, or its clock is behind"


def _notes(said: HostStatus | Silence) -> Iterator[str]:
    if isinstance(said, Silence):
        return
    if said.deadline:
        yield f"not confirmed: goes back at {said.deadline}"
    if said.failure:
        yield f"failed: {said.failure.origin} of {said.failure.time}: {said.failure.error}"
