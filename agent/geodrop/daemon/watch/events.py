# SPDX-License-Identifier: Apache-2.0
"""All events that lead to an inspection: foreign commits to nf_tables, interfaces, default routes, pins, the clock.

The kernel says little about XDP links: removing a pin is an event of its folder, but a link that is detached through
bpf(2), or given another program, is no event at all. So as long as there are links, the daemon inspects every second.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.linux.clock import ClockSteps
from geodrop.linux.inotify import Inotify
from geodrop.linux.network_events import NetworkEvents
from geodrop.nftables.netlink.monitor import CommitMonitor
from geodrop.state.places import default_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geodrop.engine.api import Difference
    from geodrop.nftables.netlink.monitor import Commit

POLL = 1.0
"""Seconds between two inspections of links."""


@dataclass
class Causes:
    """Why an inspection is due; it may have been requested without a cause.

    `found` are differences of an audit; `since` is the time of the first cause, by time.monotonic(). `again`: inspect
    everything, and try repairs again that were put off. `only_pins`: nothing but pins came or went.
    """

    foreign: list[Commit] = field(default_factory=list)
    links: bool = False
    again: bool = False
    found: list[Difference] = field(default_factory=list)
    since: float = 0.0
    only_pins: bool = True

    @property
    def culprit(self) -> str:
        """Name the processes that may have made the change, for people; the last to commit comes first."""
        names = dict.fromkeys(change.culprit for change in reversed(self.foreign) if change.process)
        return ", ".join(list(names)[:3]) or "another program"


class Events:
    """Collects causes as they come; `wait` returns those since the last call. Only for the event loop of `open`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._causes = Causes()
        self._happened = asyncio.Event()
        self._pins = default_pins()
        self._polling: asyncio.TimerHandle | None = None
        self._pausing: dict[int, asyncio.TimerHandle] = {}

    def open(self) -> None:
        """Listen to all sources, so that nothing is missed from now on. Raises UnavailableError, PrivilegeError or
        OSError.
        """
        loop = asyncio.get_running_loop()
        changes = self._stack.enter_context(CommitMonitor())
        links = self._stack.enter_context(NetworkEvents())
        self._inotify = self._stack.enter_context(Inotify())
        steps = self._stack.enter_context(ClockSteps())
        for source, read in (
            (changes, lambda: self._tell(foreign=changes.read())),
            (links, lambda: self._tell(links=True) if links.read() else None),
            (self._inotify, lambda: self._tell(pins=True) if self._inotify.read() else None),
            # What is in force did not change, but what should be in force at the new time may have.
            (steps, lambda: self._tell(again=True) if steps.read() else None),
        ):
            self._listen(source.fileno(), read)
            self._stack.callback(loop.remove_reader, source.fileno())

    def _listen(self, source: int, read: Callable[[], object]) -> None:
        """Read a source whenever it has events; if reading fails, inspect everything and listen again a bit later."""
        loop = asyncio.get_running_loop()

        def guarded() -> None:
            read_well = False
            try:
                read()
                read_well = True
            finally:
                if not read_well:
                    # A source that cannot be read stays readable and would be retried without a pause. The loop logs
                    # the error.
                    loop.remove_reader(source)
                    self._pausing[source] = loop.call_later(POLL, self._listen, source, read)
                    self._tell(links=True)

        loop.add_reader(source, guarded)

    def close(self) -> None:
        """Stop listening."""
        for timer in (self._polling, *self._pausing.values()):
            if timer:
                timer.cancel()
        self._stack.close()

    def audited(self, found: Sequence[Difference]) -> None:
        """Ask for an inspection that verifies at least the differences `found`."""
        self._causes.found += found
        self._tell()

    def again(self) -> None:
        """Ask for a complete inspection, whatever has or has not happened."""
        self._tell(again=True)

    async def wait(self) -> Causes:
        """Wait for causes and return all since the last call. What is pinned by then is watched from then on."""
        self._watch_pins()
        await self._happened.wait()
        self._happened.clear()
        causes, self._causes = self._causes, Causes()
        return causes

    def forget_pins(self) -> None:
        """Ignore pin events so far: our own doing, such as a failed try that cleaned up after itself.

        Otherwise each try would cause the next one at once.
        """
        self._inotify.read()
        if self._happened.is_set() and self._causes.only_pins:
            self._happened.clear()
            self._causes = Causes()

    def _tell(
        self, foreign: Sequence[Commit] = (), *, links: bool = False, again: bool = False, pins: bool = False
    ) -> None:
        self._causes.only_pins = self._causes.only_pins and pins
        self._causes.foreign += foreign
        self._causes.links = self._causes.links or links
        self._causes.again = self._causes.again or again
        self._causes.since = self._causes.since or time.monotonic()
        self._happened.set()

    def _watch_pins(self) -> None:
        """Watch the folders of pins. Sets come and go, so all are added each time; that costs nothing for known
        folders.
        """
        if self._polling:
            self._polling.cancel()
            self._polling = None
        if not self._inotify.add(self._pins):
            return
        for folder in os.scandir(self._pins):
            self._inotify.add(folder.path)
        if any(self._pins.glob("links/*")):
            self._polling = asyncio.get_running_loop().call_later(POLL, self._tell)
