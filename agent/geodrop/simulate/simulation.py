# SPDX-License-Identifier: Apache-2.0
"""Go through logs, and add up what a ruleset would do to their sources, alone or against another ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geodrop.simulate.cut import cut
from geodrop.simulate.distinct import Distinct, counted
from geodrop.simulate.effect import MOST_IPV4, MOST_IPV6, Effect, Ipv4Requests, visits
from geodrop.simulate.lines import Hours, LineReader, is_blank

if TYPE_CHECKING:
    import numpy.typing as npt

    from geodrop.simulate.verdicts import Verdicts

    Ints = npt.NDArray[np.int64]

SCHEMA = 1
LONGEST_SHOWN = 60
"""Bytes of an unreadable line that are shown."""


class Unreadable(NamedTuple):
    """The first line that cannot be read: its file ("-" for standard input), its number from 1, its beginning."""

    file: str
    line: int
    text: str


class Simulation:
    """Totals of the requests in logs; `before` are the verdicts to compare with."""

    def __init__(self, after: Verdicts, before: Verdicts | None = None, field: str | None = None) -> None:
        self._after, self._before = after, before
        self._hours = Hours()
        self._field = field
        self._reader = LineReader(self._hours, field)
        self._ipv4 = Distinct(np.uint32, MOST_IPV4)
        self._ipv6: dict[bytes, tuple[int, int]] = {}
        self._effects = {"dropped": Effect(after)}
        if before:
            self._effects |= {"newly_dropped": Effect(after), "no_longer_dropped": Effect(before)}
        self.requests = 0
        self.unreadable = 0
        self.first: Unreadable | None = None
        self.lines = 0
        self._file = ""

    def open(self, file: str) -> None:
        """Begin a file: its lines are numbered from 1, and its JSON objects may have other names for the source."""
        self._file, self.lines = file, 0
        self._reader.field = self._field

    def add(self, block: bytes) -> None:
        """Add a block of whole lines."""
        found = cut(block, self._hours)
        read = found.others
        for line, text in found.unread:
            request = self._reader.read(text)
            if request is None:
                if not is_blank(text):
                    self._note(self.lines + line + 1, text)
            else:
                read[request] += 1
        plain: list[int] = []
        hours: list[int] = []
        for (source, hour), count in read.items():
            if len(source) == 4:
                plain += [int.from_bytes(source, "big")] * count
                hours += [hour] * count
            else:
                self._add_ipv6(source, hour, count)
        self._add_ipv4(
            np.concatenate([found.ipv4, np.array(plain, np.uint32)]),
            np.concatenate([found.ipv4_hours, np.array(hours, np.int64)]),
        )
        self.lines += found.lines

    def _note(self, line: int, text: bytes) -> None:
        self.unreadable += 1
        if self.first is None:
            self.first = Unreadable(self._file, line, text[:LONGEST_SHOWN].decode(errors="backslashreplace"))

    def _add_ipv4(self, addresses: npt.NDArray[np.uint32], hours: Ints) -> None:
        if not len(addresses):
            return
        self.requests += len(addresses)
        if (hours == hours[0]).all():
            addresses, counts = counted(addresses)
            hours = np.full(len(addresses), hours[0])
        else:
            pairs, counts = counted(visits(addresses, hours))
            addresses, hours = pairs.astype(np.uint32), (pairs >> np.uint64(32)).astype(np.int64)
        self._ipv4.add(addresses)
        found = Ipv4Requests(addresses, hours, counts)
        after = self._after.of_ipv4(addresses)
        self._effects["dropped"].add_ipv4(found.of(after >= 0), after[after >= 0])
        if self._before:
            before = self._before.of_ipv4(addresses)
            newly, no_longer = (after >= 0) & (before < 0), (before >= 0) & (after < 0)
            self._effects["newly_dropped"].add_ipv4(found.of(newly), after[newly])
            self._effects["no_longer_dropped"].add_ipv4(found.of(no_longer), before[no_longer])

    def _add_ipv6(self, source: bytes, hour: int, count: int) -> None:
        self.requests += count
        known = self._ipv6.get(source)
        if known is None:
            known = self._after.of_ipv6(source), self._before.of_ipv6(source) if self._before else -1
            if len(self._ipv6) < MOST_IPV6:
                self._ipv6[source] = known
        after, before = known
        if after >= 0:
            self._effects["dropped"].add_ipv6(source, hour, count, after)
        if self._before and after >= 0 > before:
            self._effects["newly_dropped"].add_ipv6(source, hour, count, after)
        if self._before and before >= 0 > after:
            self._effects["no_longer_dropped"].add_ipv6(source, hour, count, before)

    def as_json(self) -> dict[str, Any]:
        """Return the object of `simulate --json`."""
        first = self.first
        effects = {name: effect.as_json(self._hours, self.requests) for name, effect in self._effects.items()}
        exact = not self._ipv4.full and len(self._ipv6) < MOST_IPV6
        return {
            "schema": SCHEMA,
            "requests": self.requests,
            "clients": len(self._ipv4.values()) + len(self._ipv6),
            "exact": exact and all(effect.exact for effect in self._effects.values()),
            "unreadable": {
                "count": self.unreadable,
                "first_file": first and first.file,
                "first_line": first and first.line,
                "first_text": first and first.text,
            },
            **effects.pop("dropped"),
            **effects,
        }
