"""Everything that tells the daemon to look: foreign commits to nf_tables, interfaces, default routes, pins, the clock.

Of XDP links the kernel tells little: a pin that is removed is an event of its folder, but a link that is detached
through bpf(2), or given another program, is none at all. For those the daemon looks again every second, while there
are any.
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
"""Seconds between two looks at links."""


@dataclass
class Causes:
    """Why to look; empty ones are reason enough if they were asked for.

    `found` is what an audit has found, `since` when the first of it happened, by time.monotonic(). `again`: all of it
    is to be looked at, and tried that was left for later. `only_pins`: nothing but pins came or went.
    """

    foreign: list[Commit] = field(default_factory=list)
    links: bool = False
    again: bool = False
    found: list[Difference] = field(default_factory=list)
    since: float = 0.0
    only_pins: bool = True

    @property
    def culprit(self) -> str:
        """Who it may have been, for people; the last of those who changed something knows best."""
        names = dict.fromkeys(change.culprit for change in reversed(self.foreign) if change.process)
        return ", ".join(list(names)[:3]) or "somebody"


class Events:
    """Collects causes as they come; `wait` gives those since it last did. Only for the loop it was opened in."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._causes = Causes()
        self._happened = asyncio.Event()
        self._pins = default_pins()
        self._polling: asyncio.TimerHandle | None = None
        self._pausing: dict[int, asyncio.TimerHandle] = {}

    def open(self) -> None:
        """From now on nothing is missed; raises UnavailableError, PrivilegeError or OSError."""
        loop = asyncio.get_running_loop()
        changes = self._stack.enter_context(CommitMonitor())
        links = self._stack.enter_context(NetworkEvents())
        self._inotify = self._stack.enter_context(Inotify())
        steps = self._stack.enter_context(ClockSteps())
        for source, read in (
            (changes, lambda: self._tell(foreign=changes.read())),
            (links, lambda: self._tell(links=True) if links.read() else None),
            (self._inotify, lambda: self._tell(pins=True) if self._inotify.read() else None),
            # What is in force did not change, but what it should be by the clock of now may have.
            (steps, lambda: self._tell(again=True) if steps.read() else None),
        ):
            self._listen(source.fileno(), read)
            self._stack.callback(loop.remove_reader, source.fileno())

    def _listen(self, source: int, read: Callable[[], object]) -> None:
        """Read whenever there is something; where that fails, look at everything, and listen again a little later."""
        loop = asyncio.get_running_loop()

        def guarded() -> None:
            read_well = False
            try:
                read()
                read_well = True
            finally:
                if not read_well:
                    # What cannot be read stays readable, and would be tried without a pause. The loop tells of it.
                    loop.remove_reader(source)
                    self._pausing[source] = loop.call_later(POLL, self._listen, source, read)
                    self._tell(links=True)

        loop.add_reader(source, guarded)

    def close(self) -> None:
        """Listen no longer."""
        for timer in (self._polling, *self._pausing.values()):
            if timer:
                timer.cancel()
        self._stack.close()

    def audited(self, found: Sequence[Difference]) -> None:
        """Have a look, at the latest by what an audit has found."""
        self._causes.found += found
        self._tell()

    def again(self) -> None:
        """Have a look at all of it, whatever has or has not happened."""
        self._tell(again=True)

    async def wait(self) -> Causes:
        """The causes since the last call, once there are any. What is pinned by then is watched from then on."""
        self._watch_pins()
        await self._happened.wait()
        self._happened.clear()
        causes, self._causes = self._causes, Causes()
        return causes

    def forget_pins(self) -> None:
        """Take what happened to pins so far for our own doing, such as a try that failed and cleaned up after itself.

        Else each try would bring about the next one at once.
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
        """Folders are added again each time, since sets come and go: that costs nothing for those that are known."""
        if self._polling:
            self._polling.cancel()
            self._polling = None
        if not self._inotify.add(self._pins):
            return
        for folder in os.scandir(self._pins):
            self._inotify.add(folder.path)
        if any(self._pins.glob("links/*")):
            self._polling = asyncio.get_running_loop().call_later(POLL, self._tell)
