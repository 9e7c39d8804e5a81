"""What makes the daemon look, and what does not."""

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
    """The causes once something was done; None if nothing is heard of it."""

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
    """The commit and who made it, with the time it was heard of."""
    causes = after(lambda _: netns.nft("add table ip theirs\n"))
    assert causes is not None
    assert causes.culprit.startswith("nft (process ")
    assert causes.since > 0
    assert not causes.links


def test_interfaces(netns: Namespace) -> None:
    """One that arrives."""
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
    """A try that pins something and takes it away again brings about no look; what else happened meanwhile does."""
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
    """What an audit found is handed on."""
    del netns
    found = Difference("map m", "as in the ruleset", "different")
    causes = after(lambda events: events.audited([found]))
    assert causes is not None
    assert causes.found == [found]


def test_a_clock_that_is_set(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is looked at, whatever else has not happened. The clock itself is left alone."""
    del netns
    clock = Stepped()
    monkeypatch.setattr("geodrop.daemon.watch.events.ClockSteps", lambda: clock)
    causes = after(lambda _: clock.step())
    assert causes is not None
    assert causes.again


class Stepped:
    """In the place of ClockSteps."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._event)

    def fileno(self) -> int:
        """Readable once it was stepped."""
        return self._event

    def read(self) -> bool:
        """As ClockSteps does."""
        return os.eventfd_read(self._event) > 0

    def step(self) -> None:
        """Somebody set the clock."""
        os.eventfd_write(self._event, 1)


def test_silence(netns: Namespace) -> None:
    """Nothing happens, nothing is told; addresses, routes to somewhere and interfaces that go up are nothing."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")

    def noise(_: Events) -> None:
        netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "eth0")
        netns.run("ip", "link", "set", "eth0", "up")
        netns.run("ip", "route", "add", "198.51.100.0/24", "dev", "eth0")

    assert after(noise) is None


@pytest.mark.parametrize(
    ("foreign", "culprit"),
    [
        ([], "somebody"),
        ([Commit()], "somebody"),
        ([Commit(5, "nft"), Commit(), Commit(7, "dockerd")], "dockerd (process 7), nft (process 5)"),
    ],
)
def test_culprit(foreign: list[Commit], culprit: str) -> None:
    """The last one first; lost events name nobody."""
    assert Causes(foreign).culprit == culprit
