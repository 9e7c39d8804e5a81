# SPDX-License-Identifier: Apache-2.0
"""Continuous traffic from all clients, and which requests were answered when."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.demo.clients import ClientRequest
from geodrop.errors import ApplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geodrop.demo.network import Namespace

OUTCOMES = {"accept": "200", "drop": "no answer"}
"""The outcome of a request by its verdict. Any other outcome means that the demo itself is broken."""


class Traffic:
    """Requests from the clients' namespace, collected while the clients run."""

    def __init__(self, clients: Namespace, sources: Sequence[str]) -> None:
        """Start the traffic: every source sends requests until the namespace ends."""
        self._clients = clients
        self.seen: list[ClientRequest] = []
        clients.given.write(json.dumps(list(sources)) + "\n")
        clients.given.flush()
        self._reader = threading.Thread(target=self._gather, daemon=True)
        self._reader.start()

    def _gather(self) -> None:
        for line in self._clients.said:
            self.seen.append(ClientRequest(**json.loads(line)))

    def requests(self) -> list[ClientRequest]:
        """Return every request that has ended so far; raises ApplyError if the clients have ended."""
        if not self._reader.is_alive():
            raise ApplyError("the demo's clients have ended early", "see what they said above")
        return list(self.seen)


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time under one policy, and the verdict of each source during it.

    Times are seconds of CLOCK_MONOTONIC. `loading` is when the load of this policy was started; between then and
    `began` a packet is judged by this policy or by the previous one.
    """

    loading: float
    began: float
    ended: float
    verdicts: Mapping[str, str]

    def within(self, requests: Iterable[ClientRequest]) -> list[ClientRequest]:
        """Return the requests of its sources that began and ended in this period, so under no other policy."""
        return [
            one
            for one in requests
            if one.source in self.verdicts and self.began <= one.began and one.ended <= self.ended
        ]

    def wrong(self, requests: Iterable[ClientRequest]) -> list[ClientRequest]:
        """Return the requests within this period whose outcome is not the one of their source's verdict."""
        return [one for one in self.within(requests) if one.outcome != OUTCOMES[self.verdicts[one.source]]]


def across(before: Period, after: Period) -> Period:
    """Return one period over both and the load between them, for the sources whose verdict stays without a gap."""
    same = {source: verdict for source, verdict in before.verdicts.items() if after.verdicts[source] == verdict}
    return Period(before.loading, before.began, after.ended, same)


def answered(requests: Iterable[ClientRequest], source: str) -> tuple[int, int]:
    """Return how many requests of a source were answered, and how many it sent."""
    outcomes = [one.outcome for one in requests if one.source == source]
    return outcomes.count(OUTCOMES["accept"]), len(outcomes)


def strip(requests: Iterable[ClientRequest], source: str, began: float, ended: float) -> str:
    """Return one sign for each request that a source began in a span of time, in order: `#` answered, `.` not."""
    inside = [one for one in requests if one.source == source and began <= one.began < ended]
    inside.sort(key=lambda one: one.began)
    return "".join("#" if one.outcome == OUTCOMES["accept"] else "." for one in inside)
