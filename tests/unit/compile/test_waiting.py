from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from geodrop.compile.sandbox import Child, Job
from geodrop.compile.waiting import Waiting
from geodrop.errors import DataError
from tests.databases import country, write_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = "version: 1\nservices: {api: {default: allow, unknown: allow, deny: [CN]}}\n"


class Started:
    """Starts children and keeps them in mind."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def __call__(self) -> Child:
        """Start one."""
        self.children.append(Child.start())
        return self.children[-1]

    def pid(self) -> int:
        """Of the last one."""
        process = self.children[-1]._process
        assert process
        return process.pid


@pytest.fixture
def started() -> Started:
    """Sees every child that is started."""
    return Started()


@pytest.fixture
def waiting(started: Started) -> Iterator[Waiting]:
    """Ends the child that waits, afterwards."""
    made = Waiting(started)
    yield made
    made.close()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A policy and a database, compiled into a file."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    write_database(tmp_path / "country.mmdb", {"1.0.0.0/24": country("CN"), "2400::/24": country("CN")})
    with (tmp_path / "out").open("wb") as output:
        yield Job("compile", str(tmp_path / "policy.yaml"), [str(tmp_path / "country.mmdb")], output.fileno())


def test_child_that_waits_does_the_job(waiting: Waiting, started: Started, job: Job) -> None:
    """It serves one job; the next has a child of its own, asked for ahead or not."""
    waiting.prepare(job.databases)
    assert waiting.run(job).exit == 0
    assert len(started.children) == 1
    assert waiting.run(job).exit == 0
    assert len(started.children) == 2
    waiting.prepare()
    assert waiting.run(job).exit == 0
    assert len(started.children) == 3


def test_child_that_died_while_waiting(waiting: Waiting, started: Started, job: Job) -> None:
    """It is replaced: that it was killed meanwhile says nothing of the inputs."""
    waiting.prepare(job.databases)
    os.kill(started.pid(), signal.SIGKILL)
    os.waitid(os.P_PID, started.pid(), os.WEXITED | os.WNOWAIT)
    assert waiting.run(job).exit == 0
    assert len(started.children) == 2


def test_other_databases_get_a_fresh_child(waiting: Waiting, started: Started, job: Job, tmp_path: Path) -> None:
    """A child that may have been taken over by one database never compiles from another."""
    write_database(tmp_path / "other.mmdb", {"1.0.0.0/24": country("US"), "2400::/24": country("US")})
    waiting.prepare([str(tmp_path / "other.mmdb")])
    assert waiting.run(job).exit == 0
    assert len(started.children) == 2


def test_database_that_is_not_there(waiting: Waiting, job: Job, tmp_path: Path) -> None:
    """Preparing does not fail; the job says it, and the next one works."""
    database = tmp_path / "country.mmdb"
    database.rename(tmp_path / "away.mmdb")
    waiting.prepare(job.databases)
    with pytest.raises(DataError, match=r"country\.mmdb: No such file"):
        waiting.run(job)
    (tmp_path / "away.mmdb").rename(database)
    assert waiting.run(job).exit == 0


def test_no_descriptor_is_lost(waiting: Waiting, job: Job) -> None:
    """However often it reloads."""
    waiting.prepare(job.databases)
    assert waiting.run(job).exit == 0
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        waiting.prepare(job.databases)
        assert waiting.run(job).exit == 0
    assert sorted(os.listdir("/proc/self/fd")) == before
