# SPDX-License-Identifier: Apache-2.0
"""What leads to an inspection, and what does not."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Self

import pytest

from geodrop.daemon.watch.events import Causes, Events
from geodrop.engine.api import Difference
from geodrop.linux.network_events import NetworkEvents
from geodrop.nftables.netlink.monitor import Commit, CommitMonitor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.namespaces import Namespace

QUIET = 0.3


def after(action: Callable[[Events], object]) -> Causes | None:
    """Return the causes after an action; None if there are none."""

    async def body() -> Causes | None:
        events = Events()
        events.open()
        try:
            action(events)
            async with asyncio.timeout(QUIET):
                return await events.wait()
        except TimeoutError:
            return None
        finally:
            events.close()

    return asyncio.run(body())


def test_foreign_commits(netns: Namespace) -> None:
    """Return the commit and its author, with the time it was noticed."""
    causes = after(lambda _: netns.nft("add table ip theirs\n"))
    assert causes is not None
    assert causes.culprit.startswith("nft (process ")
    assert causes.since > 0
    assert not causes.links


def test_interfaces(netns: Namespace) -> None:
    """An interface that arrives is an event."""
    causes = after(lambda _: netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0"))
    assert causes is not None
    assert causes.links


@pytest.mark.parametrize("source", [NetworkEvents, CommitMonitor], ids=["interfaces", "commits"])
def test_an_overflow_is_a_cause(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch, source: type[NetworkEvents | CommitMonitor]
) -> None:
    """What the kernel could not queue (ENOBUFS) makes the daemon read all of it again, whatever it was."""

    def overflowing() -> NetworkEvents | CommitMonitor:
        made = source()
        made._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least
        for number in range(30):
            netns.run("ip", "link", "set", "lo", "alias", f"{number}" * 100)
            netns.nft(f"add table ip t{number}\n")
        return made

    monkeypatch.setattr(f"geodrop.daemon.watch.events.{source.__name__}", overflowing)
    causes = after(lambda _: None)
    assert causes is not None
    assert causes.links == (source is NetworkEvents)
    assert (Commit() in causes.foreign) == (source is CommitMonitor)


def test_pins_of_a_try_that_failed_are_our_own(
    netns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that pins and unpins something leads to no inspection; what else happened meanwhile does."""
    monkeypatch.setattr("geodrop.daemon.watch.events.default_pins", lambda: tmp_path)

    def pin_and_unpin(events: Events) -> None:
        events._watch_pins()
        (tmp_path / "set-1-05").mkdir()
        (tmp_path / "set-1-05").rmdir()

    def then_forget(events: Events) -> None:
        pin_and_unpin(events)
        events.forget_pins()

    def with_an_audit(events: Events) -> None:
        events.audited(())
        then_forget(events)

    del netns
    causes = after(pin_and_unpin)
    assert causes is not None
    assert causes.only_pins
    assert after(then_forget) is None
    causes = after(with_an_audit)
    assert causes is not None
    assert not causes.only_pins


def test_audits(netns: Namespace) -> None:
    """A difference that an audit found is handed on."""
    del netns
    found = Difference("map m", "as in the ruleset", "different")
    causes = after(lambda events: events.audited([found]))
    assert causes is not None
    assert causes.found == [found]


def test_a_clock_that_is_set(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the clock leads to a complete inspection. The real clock is left alone."""
    del netns
    clock = Stepped()
    monkeypatch.setattr("geodrop.daemon.watch.events.ClockSteps", lambda: clock)
    causes = after(lambda _: clock.step())
    assert causes is not None
    assert causes.again


class Stepped:
    """A fake for ClockSteps."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._event)

    def fileno(self) -> int:
        """Return a descriptor that is readable after a step."""
        return self._event

    def read(self) -> bool:
        """Return whether there was a step, as ClockSteps does."""
        return os.eventfd_read(self._event) > 0

    def step(self) -> None:
        """Step the clock."""
        os.eventfd_write(self._event, 1)


def test_silence(netns: Namespace) -> None:
    """Without an event nothing is reported; addresses, routes to elsewhere and interfaces that go up are no events."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")

    def noise(_: Events) -> None:
        netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0")
        netns.run("ip", "link", "set", "eth0", "up")
        netns.run("ip", "route", "add", "198.51.100.0/24", "dev", "eth0")

    assert after(noise) is None


@pytest.mark.parametrize(
    ("foreign", "culprit"),
    [
        ([], "another program"),
        ([Commit()], "another program"),
        ([Commit(5, "nft"), Commit(), Commit(7, "dockerd")], "dockerd (process 7), nft (process 5)"),
    ],
)
def test_culprit(foreign: list[Commit], culprit: str) -> None:
    """The last author comes first; lost events name no author."""
    assert Causes(foreign).culprit == culprit
