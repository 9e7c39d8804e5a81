# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.daemon.schedule import Schedule
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, Entry
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store
from tests.support.daemons import daemon_context
from tests.unit.ruleset.test_model import META, pack

LOADED, STARTS = 1_700_000_000, 1_700_000_600
STARTED = "service api is enforced since 2023-11-14T22:23:20Z"
OVER = "the pause is over since 2023-11-14T22:23:20Z: services drop again"


class Host:
    """A state directory and its daemons, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.restart()

    def restart(self) -> None:
        """Start another daemon, which remembers nothing."""
        self.schedule = Schedule(daemon_context(Config(state=self.store.folder)))

    def load(self, at: float, starts: int | None, mode: str = "enforce", generation: int = 1) -> None:
        """Load a policy."""
        api = replace(META.services[0], starts=starts, mode=mode)
        content = pack(replace(META, services=(api, META.services[1])))
        digest = Ruleset.unpack(content, "file").digest
        self.store.keep_bytes(content, digest)
        self.store.history.append(Entry(at, "load", DONE, 0, generation, digest))
        self.store.remember(replace(self.store.intent(), digest=digest, last_good=digest))

    def pause(self, until: int) -> None:
        """Pause."""
        self.store.remember(replace(self.store.intent(), paused=until))

    def told(self) -> list[str]:
        """Return what the history says."""
        return [entry.change for entry in self.store.history.entries() if entry.origin == "schedule"]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host without a loaded policy."""
    return Host(tmp_path)


def test_a_service_starts(host: Host) -> None:
    """A start is recorded once and not a second early."""
    host.load(LOADED, STARTS)
    for now, said in ((LOADED + 1, []), (STARTS - 1, []), (STARTS + 2, [STARTED]), (STARTS + 7, [])):
        assert host.schedule.once(now) == said, now
    assert host.told() == [STARTED]


def test_with_the_daemon_dead(host: Host) -> None:
    """The next daemon records the moment as written in the policy, and the one after that does not repeat it."""
    host.load(LOADED, STARTS)
    assert host.schedule.once(LOADED + 1) == []
    for said in ([STARTED], []):
        host.restart()
        assert host.schedule.once(STARTS + 100_000) == said
    assert host.told() == [STARTED]


def test_a_clock_that_jumps(host: Host) -> None:
    """After the clock jumps back over the moment and forward again, the start is recorded once, and never early."""
    host.load(LOADED, STARTS)
    assert host.schedule.once(STARTS + 1) == [STARTED]
    assert host.schedule.once(STARTS - 3600) == []
    host.restart()
    assert host.schedule.once(STARTS - 3600) == []
    assert host.schedule.once(STARTS + 2) == []


def test_a_new_policy_after_the_moment(host: Host) -> None:
    """The same service in a new ruleset did not start again; a later one with a start in the past never did."""
    host.load(LOADED, STARTS)
    assert host.schedule.once(STARTS + 1) == [STARTED]
    host.load(STARTS + 60, None, generation=2)
    assert host.schedule.once(STARTS + 61) == []
    host.load(STARTS + 120, STARTS - 5000, generation=3)
    assert host.schedule.once(STARTS + 121) == []


def test_monitor_never_starts(host: Host) -> None:
    """In monitor mode `starts` has no effect yet."""
    host.load(LOADED, STARTS, mode="monitor")
    assert host.schedule.once(STARTS + 1) == []


def test_a_pause_ends(host: Host) -> None:
    """A pause that ends by itself is recorded once. Until then no service is enforced, whatever its start."""
    host.load(LOADED, STARTS - 300)
    host.pause(STARTS)
    assert host.schedule.once(STARTS - 1) == []
    assert host.schedule.once(STARTS + 1) == ["service api is enforced since 2023-11-14T22:18:20Z", OVER]
    host.restart()
    assert host.schedule.once(STARTS + 2) == []


@pytest.mark.parametrize("until", [0, FOREVER])
def test_a_pause_that_an_operator_ends(host: Host, until: int) -> None:
    """A pause that was resumed, or has no end, has no moment to record."""
    host.load(LOADED, None)
    host.pause(until)
    assert host.schedule.once(STARTS + 1) == []


def test_nothing_is_read_while_nothing_is_due(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between moments a run reads only the intent."""
    host.load(LOADED, STARTS)
    host.schedule.once(LOADED + 1)
    monkeypatch.setattr(Ruleset, "open", None)
    assert host.schedule.once(LOADED + 6) == []
