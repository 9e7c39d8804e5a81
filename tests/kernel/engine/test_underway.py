# SPDX-License-Identifier: Apache-2.0
"""Readers see what is in force while a change is made; and verbs that cannot wait do not wait for a load."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.errors import BusyError
from geodrop.operations.change import by_me
from geodrop.operations.load import apply_file, remove_all, what_is_loaded
from geodrop.operations.pause import pause
from geodrop.operations.repair import Baseline, inspect
from geodrop.report.counters import read_counters
from geodrop.report.explain import explain_some
from geodrop.report.pieces import whole
from geodrop.report.status import Running, read_status
from geodrop.report.verify import read_verify
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store
from tests.support.bpffs import bpffs_in_its_place
from tests.support.cli import TIMEOUT
from tests.support.worlds import POLICY_CN, POLICY_US, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.namespaces import Namespace

MOVES = 2
FILLED = 3
"""`go_on` was called this often: once before, at the first transaction of a fill, and at the two maps."""


class Held:
    """A change in another thread that waits at one of its steps until it is let go; `failure` is its exception."""

    def __init__(self, change: Callable[[], object]) -> None:
        self.reached, self._go = threading.Event(), threading.Event()
        self.failure: BaseException | None = None
        self._change = change
        self._thread = threading.Thread(target=self._make)

    def wait_here(self) -> None:
        """Called at the step: the first thread to call it waits."""
        if not self.reached.is_set():
            self.reached.set()
            assert self._go.wait(TIMEOUT)

    def begin(self) -> None:
        """Start the change, and return when it waits at its step."""
        self._thread.start()
        assert self.reached.wait(TIMEOUT)

    def end(self) -> None:
        """Let it continue, and return when it has ended."""
        self._go.set()
        self._thread.join()

    def _make(self) -> None:
        try:
            self._change()
        except BaseException as failure:  # noqa: BLE001 - for the test to look at
            self.failure = failure


@pytest.fixture
def config(netns: Namespace, tmp_path: Path) -> Config:
    """Return a configuration under which CN is dropped on lo; "us.ruleset" is there to be loaded."""
    del netns
    for name, policy in (("cn", POLICY_CN), ("us", POLICY_US)):
        (tmp_path / f"{name}.ruleset").write_bytes(packed(policy, tmp_path))
    made = Config(engine="nftables", interfaces=("lo",), state=tmp_path / "state")
    load("cn", made)
    return made


def load(name: str, config: Config) -> None:
    """Load as the daemon does."""
    apply_file(str(config.state.parent / f"{name}.ruleset"), config, "nftables", (), by_me("reload"))


@pytest.fixture(autouse=True)
def nothing_is_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that fails leaves no mark behind that would make the loads of other tests give way."""
    monkeypatch.setattr(underway._Here, "urgent", [])


@contextlib.contextmanager
def filled(change: Callable[[], object], monkeypatch: pytest.MonkeyPatch, calls_before: int = FILLED) -> Iterator[Held]:
    """Hold a change that has filled everything and is reading it back; with fewer calls, one that is about to fill."""
    held, calls, go_on = Held(change), iter(range(1000)), underway.go_on

    def step() -> None:
        if next(calls) == calls_before:
            held.wait_here()
        go_on()

    monkeypatch.setattr(underway, "go_on", step)
    held.begin()
    try:
        yield held
    finally:
        held.end()
        monkeypatch.setattr(underway, "go_on", go_on)


@contextlib.contextmanager
def switched(change: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Hold a change that is in force but not written to the state yet."""
    held, note = Held(change), Store.note

    def step(store: Store, *rest: Any) -> None:  # noqa: ANN401 - as note has it
        held.wait_here()
        note(store, *rest)

    monkeypatch.setattr(Store, "note", step)
    held.begin()
    try:
        yield held
    finally:
        held.end()
        monkeypatch.setattr(Store, "note", note)


def status(config: Config) -> dict[str, Any]:
    """Return the status as the daemon makes it."""
    return read_status(config, Running())


def test_in_the_middle_of_a_load(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is read is of the old generation, and correct; what is filled beside it is no drift."""
    with filled(partial(load, "us", config), monkeypatch):
        found = status(config)
        assert (found["state"], found["problems"], found["generation"]) == ("enforcing", [], 1)
        assert found["change"]["origin"] == "reload"
        assert whole(read_verify(config, full=True))["differences"] == []
        [said] = whole(explain_some(config, ["1.0.0.1"], None))
        assert said["kernel"]["verdict"] == "drop"
        assert read_counters()
    found = status(config)
    assert (found["state"], found["generation"], found["change"]) == ("enforcing", 2, None)


def test_what_is_drift_is_drift_in_the_middle_of_a_load(
    config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign rule before ours is reported at once."""
    with filled(partial(load, "us", config), monkeypatch):
        netns.run("nft", "insert", "rule", "inet", "geodrop", "prerouting", "accept")
        found = status(config)
        assert (found["state"], found["healthy"]) == ("not enforcing", False)
        assert whole(read_verify(config, full=False))["agrees"] is False


def test_between_the_switch_and_what_is_written(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause shows as soon as it is in force."""
    with switched(lambda: pause(config, by_me("pause"), FOREVER), monkeypatch):
        found = status(config)
        assert (found["state"], found["problems"], found["generation"]) == ("paused", [], 2)
        assert whole(read_verify(config, full=False))["agrees"] is True
    assert status(config)["state"] == "paused"


def test_in_the_middle_of_a_repair(config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in force, and the status also says that a repair is under way."""
    netns.run("nft", "flush", "ruleset")
    with filled(lambda: inspect(config, Baseline(), None), monkeypatch, 0):
        found = status(config)
        assert (found["state"], found["change"]["origin"]) == ("not enforcing", "repair")
    netns.run("nft", "flush", "ruleset")
    with filled(lambda: inspect(config, Baseline(), None), monkeypatch):
        found = status(config)  # the generation is switched to before it is read back
        assert (found["state"], found["change"]["origin"]) == ("enforcing", "repair")
    assert status(config)["state"] == "enforcing"


@pytest.mark.parametrize("what", underway.FINISHED_BEFORE)
def test_a_load_is_given_up(config: Config, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """For a pause or unload: the old generation is in force as before, and nothing of the new one is left."""
    with filled(partial(load, "us", config), monkeypatch) as held:
        underway.give_up(what)
    assert isinstance(held.failure, BusyError)
    assert f"`geodrop {what}` was called" in held.failure.message
    with pytest.raises(BusyError):
        load("us", config)
    underway.begin(what)
    engines, observed, ruleset = what_is_loaded(config)
    assert (observed.generation, engines.verify(ruleset)) == (1, [])
    if what == "pause":
        pause(config, by_me("pause"), FOREVER)
        assert status(config)["state"] == "paused"
    else:
        remove_all(config, by_me("unload"))
        assert BothEngines.here().observe().generation == 0


@pytest.mark.parametrize(("what", "given_up"), [("unload", True), ("pause", False)])
def test_a_repair_is_given_up_for_an_unload(
    config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch, what: str, *, given_up: bool
) -> None:
    """It is not given up for a pause: before the repair there is nothing to pause."""
    netns.run("nft", "flush", "ruleset")
    with filled(lambda: inspect(config, Baseline(), None), monkeypatch) as held:
        underway.give_up(what)
    underway.begin(what)
    assert isinstance(held.failure, BusyError) == given_up
    assert BothEngines.here().observe().generation == (0 if given_up else 2)


def test_read_all_the_while_packets_move_from_engine_to_engine(config: Config) -> None:
    """A move takes several steps. No read in the middle of it fails, or takes what it finds for trouble."""
    over = threading.Event()
    found: list[object] = []

    def move() -> None:
        try:
            for _ in range(MOVES):
                for engine in ("xdp", "nftables"):
                    apply_file(str(config.state.parent / "cn.ruleset"), config, engine, (), by_me("reload"))
        finally:
            over.set()

    def read(one: Callable[[], object]) -> None:
        while not over.is_set():
            try:
                found.append(one())
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is reported
                found.append(failure)

    reading = (
        lambda: status(config)["problems"],
        lambda: whole(read_verify(config, full=False))["differences"],
        lambda: [one for one in whole(explain_some(config, ["1.0.1.1"], None)) if one["kernel"]["verdict"] != "drop"],
    )
    threads = [threading.Thread(target=move), *(threading.Thread(target=read, args=[one]) for one in reading)]
    with bpffs_in_its_place():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        remove_all(config, by_me("unload"))
    assert len(found) > len(reading)
    assert [one for one in found if one] == []
