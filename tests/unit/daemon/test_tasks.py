# SPDX-License-Identifier: Apache-2.0
"""A bug in any task of the daemon is recorded and shown; the task and the daemon go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import structlog
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from geodrop.config import Config
from geodrop.daemon import audit, autoreload, compaction, deadline, reload, run, tasks, writeback
from geodrop.daemon.metrics import Metrics
from geodrop.daemon.run import Daemon
from geodrop.daemon.schedule import Schedule
from geodrop.daemon.source import Made
from geodrop.daemon.tasks import Tasks
from geodrop.daemon.watch import tally, watch
from geodrop.daemon.worker import Worker
from geodrop.errors import ApplyError, BugError, DataError
from geodrop.state.store import Store
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE = 60.0


def made() -> Tasks:
    """Return tasks without a daemon."""
    return Tasks(structlog.get_logger(), Metrics())


class Buggy:
    """A function that raises an unexpected exception, and signals after the number of calls that a test wants."""

    def __init__(self, wanted: int) -> None:
        self._left, self._loop = wanted, asyncio.get_running_loop()
        self.called = asyncio.Event()

    def call(self, *_: object, **__: object) -> None:
        """Do one round of the task."""
        self._left -= 1
        if self._left <= 0:
            self._loop.call_soon_threadsafe(self.called.set)
        raise ZeroDivisionError("a test's bug")


PLACES: dict[str, tuple[object, str]] = {
    "watch": (watch, "inspect"),
    "audit": (audit, "what_is_loaded"),
    "schedule": (Schedule, "once"),
    "autoreload": (autoreload, "look"),
    "deadline": (deadline, "look"),
    "compact": (compaction, "compact"),
    "tally": (tally, "_read"),
    "writeback": (writeback.WriteBack, "once"),
    "compile child": (Worker, "start"),
}
"""For each task of the daemon, something that it does in each round."""


def daemon(folder: Path) -> Daemon:
    """Return a daemon that was not started."""
    return Daemon(None, Config(state=folder / "state", socket=folder / "control.sock", watch=True))


def test_every_task_is_known_here(tmp_path: Path) -> None:
    """A new task has to be added to the table."""
    assert set(daemon(tmp_path)._tending) == set(PLACES)


@pytest.mark.parametrize("name", PLACES)
def test_a_bug_ends_no_task(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is started again, three times here; the bug is in the log with its traceback, in metrics and status."""
    for module in (audit, autoreload, reload, compaction, tally, writeback, watch, run):
        for pause in ("INTERVAL", "QUIET", "RETRY", "PAUSE", "REFRESH"):
            if hasattr(module, pause):
                monkeypatch.setattr(module, pause, 0.01)
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)

    async def body() -> tuple[Daemon, list[str]]:
        tested, buggy = daemon(tmp_path), Buggy(3)
        monkeypatch.setattr(*PLACES[name], buggy.call)
        if name == "watch":
            tested._watch._retry = 0.01
            # The events of this daemon were never opened.
            monkeypatch.setattr(tested._watch.events, "_watch_pins", lambda: None)
            monkeypatch.setattr(tested._watch.events, "forget_pins", lambda: None)
        tested._tasks.forever(name, tested._tending[name])
        async with asyncio.timeout(PATIENCE):
            await buggy.called.wait()
        await tested._tasks.close()
        return tested, tested._tasks.problems()

    monkeypatch.setattr(run, "open_log", structlog.get_logger)
    with capture_logs() as logged:
        tested, [problem] = asyncio.run(body())
    assert f"a bug in {name}: ZeroDivisionError: a test's bug" in problem
    assert [isinstance(one["exc_info"], ZeroDivisionError) for one in logged if "exc_info" in one] == [True]
    counted = generate_latest(tested._metrics.registry).decode()
    assert f'geodrop_bugs_total{{task="{name}"}}' in counted


def test_a_bug_is_a_failed_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug while compiling or loading has the exit code of a bug, in status and history; the next reload works."""

    async def body() -> None:
        tested, given = daemon(tmp_path), ruleset(Service("api"))
        for place, wanted in (("load_config", BugError), ("apply_file", BugError), ("apply_file", ApplyError)):
            with monkeypatch.context() as patch:
                if place == "apply_file":
                    patch.setattr(reload, "load_config", lambda _: tested._config)
                    patch.setattr(tested._reload.maker, "make", lambda _: Made(given))
                failure = (
                    ZeroDivisionError("a test's bug") if wanted is BugError else OSError(24, "Too many open files")
                )
                patch.setattr(reload, place, raising(failure))
                with pytest.raises(wanted):
                    await tested._reload.ask(lambda _: None)
            assert tested._reload.last is not None
            assert not tested._reload.last.good
        with pytest.raises(DataError):
            await tested._reload.ask(lambda _: None)
        tested._reload.close()

    with capture_logs():
        monkeypatch.setenv("GEODROP_CONFIG", str(tmp_path / "agent.yaml"))
        (tmp_path / "agent.yaml").write_text(f"source: {{ruleset: none}}\nstate: {tmp_path / 'state'}\n")
        asyncio.run(body())
    told = [entry.error for entry in Store(tmp_path / "state").history]
    assert "a bug in the daemon (ZeroDivisionError)" in told[0]


def raising(failure: Exception) -> Callable[..., None]:
    """Return a function that only raises."""

    def fail(*_: object, **__: object) -> None:
        raise failure

    return fail


def test_the_same_bug_does_not_fill_the_log() -> None:
    """The same bug is logged with its traceback once a minute, and counted each time."""
    with capture_logs() as logged:
        tested = made()
        for _ in range(1000):
            tested.met("watch", ZeroDivisionError("one"))
        tested.met("watch", ZeroDivisionError("another"))
    assert len(logged) == 2
    assert "1001 times" in tested.problems()[0]


def test_problems_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem that has not happened for long is in the log, and no longer in the status."""
    tested = made()
    with capture_logs():
        tested.met("watch", ZeroDivisionError("one"))
    monkeypatch.setattr(tasks, "SHOWN", 0.0)
    assert tested.problems() == []


def test_a_failure_that_is_none_of_ours_ends_nothing_either() -> None:
    """A task that ends for any reason is started again, and an error of the system is no bug."""

    async def body() -> list[str]:
        tested, buggy = made(), asyncio.Event()
        failures = [DataError("damaged"), OSError(24, "Too many open files"), None]

        async def work() -> None:
            if not failures:
                buggy.set()
                await asyncio.Event().wait()
            elif failure := failures.pop(0):
                raise failure

        tested.forever("x", work)
        await asyncio.wait_for(buggy.wait(), PATIENCE)
        await tested.close()
        return tested.problems()

    with capture_logs() as logged, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "FIRST_PAUSE", 0.01)
        assert asyncio.run(body()) == []
    assert ["damaged" in str(one) or "Too many open files" in str(one) for one in logged] == [True, True]


def test_callbacks_of_the_loop(tmp_path: Path) -> None:
    """A bug in a callback is recorded too; errors of the system, and errors logged already, are no bugs."""

    async def body() -> list[str]:
        tested = daemon(tmp_path)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(tested._callback_failed)
        for failure in (DataError("told already"), OSError(24, "Too many open files"), ZeroDivisionError("a bug")):
            loop.call_soon(raising(failure))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tested._tasks.problems()

    with capture_logs():
        [problem] = asyncio.run(body())
    assert "a bug in the event loop: ZeroDivisionError: a bug, 1 times" in problem


def test_what_a_task_does_at_its_end_is_waited_for() -> None:
    """The final work of a task, such as the last version of a file, is waited for, but not forever."""

    async def body() -> list[str]:
        said: list[str] = []

        async def last_word(seconds: float) -> None:
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                await asyncio.sleep(seconds)
                said.append("done")

        tested = made()
        for seconds in (0.05, PATIENCE):
            tested.once("one", last_word(seconds))
        await asyncio.sleep(0)
        await tested.close(1.0)
        return said

    assert asyncio.run(body()) == ["done"]


def test_what_fails_is_a_problem_until_it_works() -> None:
    """A failure is a line of status, with its next step, until the task works."""

    async def body() -> None:
        own = made()

        async def fail() -> None:
            raise DataError("no room", "make some")

        await own.once("metrics", fail())
        assert own.problems() == ["no room; next: make some"]
        own.works("another")
        assert own.problems()
        own.works("metrics")
        assert own.problems() == []

    asyncio.run(body())
