# SPDX-License-Identifier: Apache-2.0
import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from geodrop.config import Config, Source
from geodrop.daemon.autoreload import PATIENCE, Autoreload, look, waits
from geodrop.daemon.context import DaemonContext
from geodrop.state.store import Store
from geodrop.state.unconfirmed import Unconfirmed
from tests.support.cli import TIMEOUT
from tests.support.daemons import daemon_context


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with a policy and a database."""
    names = ("policy.yaml", "country.mmdb")
    for name in names:
        (tmp_path / name).write_text(name)
    policy, database = (str(tmp_path / name) for name in names)
    return Config(source=Source(policy, (database,)), state=tmp_path / "state", watch=True)


@pytest.fixture
def context(config: Config) -> DaemonContext:
    """Return what the tasks of a daemon share whose last reload has read these files."""
    made = daemon_context(config)
    made.files_read = look(config)
    return made


@pytest.fixture
def files(context: DaemonContext) -> Autoreload:
    """Return the task that watches them."""
    return Autoreload(context, AsyncMock())


def changed(files: Autoreload, config: Config) -> list[str]:
    """Return the names of the files that one look finds changed."""
    return [Path(name).name for name in files.changed(look(config))]


def test_a_change_counts_once_it_has_settled(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """A change counts once, and not while the file is being written."""
    assert [changed(files, config) for _ in range(3)] == [[], [], []]
    for content in ("a", "ab", "abc"):
        (tmp_path / "country.mmdb").write_text(content)
        assert changed(files, config) == []
    assert changed(files, config) == ["country.mmdb"]
    assert changed(files, config) == []


def test_a_file_that_is_replaced(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """A file replaced by one of the same size and age is a change all the same."""
    for _ in range(2):
        changed(files, config)
    (tmp_path / "new").write_text("policy.yaml")
    (tmp_path / "new").rename(tmp_path / "policy.yaml")
    assert [changed(files, config) for _ in range(2)] == [[], ["policy.yaml"]]


def test_incomplete(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """While a file is missing nothing is reloaded; its return is a change."""
    for _ in range(2):
        changed(files, config)
    (tmp_path / "policy.yaml").unlink()
    assert [changed(files, config) for _ in range(3)] == [[], [], []]
    (tmp_path / "policy.yaml").write_text("policy.yaml")
    assert [changed(files, config) for _ in range(2)] == [[], ["policy.yaml"]]


def test_a_file_that_stays_away(
    files: Autoreload, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing for longer than it takes to replace it is a problem, with the next step, until it is back.

    A signature has a step of its own. A name that nobody watches any more is no problem.
    """
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    fleet, keys = tmp_path / "fleet.ruleset", tmp_path / "keys"
    for path in (fleet, keys):
        path.write_text(path.name)
    demanding = replace(config, source=Source(ruleset=str(fleet)), keys=str(keys))
    assert files.missing(look(demanding)) == []
    now += PATIENCE
    assert files.missing(look(demanding)) == []
    now += 1
    [said] = files.missing(look(demanding))
    assert said.startswith(f"{fleet}.sig is missing since ")
    assert "; next: copy the signature there too" in said
    Path(f"{fleet}.sig").write_text("signature")
    fleet.unlink()
    assert files.missing(look(demanding)) == []
    now += PATIENCE + 1
    [said] = files.missing(look(demanding))
    assert said.endswith("; next: put it there, or see: geodrop reload")
    assert files.missing({}) == []


def test_what_is_missing_is_a_problem_of_the_daemon(
    context: DaemonContext, files: Autoreload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task tells the daemon what it lacks, and nothing any more once an unload has ended the waiting."""
    monkeypatch.setattr("geodrop.daemon.autoreload.PATIENCE", -1.0)
    monkeypatch.setattr("geodrop.daemon.autoreload.INTERVAL", 0.0)
    (tmp_path / "policy.yaml").unlink()

    async def body() -> None:
        task = asyncio.ensure_future(files.run())
        async with asyncio.timeout(TIMEOUT):
            while not context.missing:  # noqa: ASYNC110 - the task tells nobody
                await asyncio.sleep(0)
            assert "policy.yaml is missing since" in context.missing[0]
            store = Store(context.config.state)
            store.note(replace(store.intent(), unloaded=True))
            while context.missing:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(body())


def test_a_change_between_a_reload_and_the_first_look(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """It counts: what the reload has read is older."""
    (tmp_path / "policy.yaml").write_text("changed")
    assert [changed(files, config) for _ in range(3)] == [[], ["policy.yaml"], []]


def test_a_start_without_a_reload(files: Autoreload, context: DaemonContext, config: Config) -> None:
    """What changed while a load waited to be confirmed is not known, so everything counts, once."""
    context.files_read = {}
    assert [changed(files, config) for _ in range(3)] == [[], ["country.mmdb", "policy.yaml"], []]


def test_a_file_that_the_new_policy_names(files: Autoreload, context: DaemonContext, config: Config) -> None:
    """The reload has read it, so it is no change; its next change is one."""
    policy = next(name for name in context.files_read if name.endswith("policy.yaml"))
    context.files_read = {name: one for name, one in context.files_read.items() if name != policy}
    assert [changed(files, config) for _ in range(3)] == [[], [], []]
    Path(policy).write_text("changed")
    assert [changed(files, config) for _ in range(2)] == [[], ["policy.yaml"]]


@pytest.mark.parametrize("state", [{"rolled_back": True}, {"unloaded": True}, {"confirm": Unconfirmed(2, 1, "a" * 64)}])
def test_what_a_person_has_to_decide_first(config: Config, state: dict[str, Any]) -> None:
    """Nothing is reloaded after a rollback or an unload, or while a load waits to be confirmed."""
    store = Store(config.state)
    assert not waits(config)
    store.note(replace(store.intent(), **state))
    assert waits(config)


def test_without_a_source() -> None:
    """Without a source no file is watched."""
    assert look(Config()) == {}
