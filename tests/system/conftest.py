"""Fixtures of the walk: machines, kept as long as a file of tests, and the table of what was measured."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import edge, require_machines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.edge import Edge

TIMES = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the machines of this session are."""
    folder = tmp_path_factory.mktemp("machines")
    yield folder
    # Half a gigabyte, which pytest would keep for a while.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> dict[str, float]:
    """Seconds by what took them; printed at the end of the session."""
    return request.config.stash.setdefault(TIMES, {})


@pytest.fixture(scope="module")
def off(times: dict[str, float], machines: Path) -> Iterator[Edge]:
    """A host that was never started: for tests of the first boot. Debian 12, or what the environment says."""
    require_machines()
    with edge(os.environ.get("GEODROP_TEST_RELEASE", "bookworm"), machines, times) as host:
        yield host


@pytest.fixture
def host(off: Edge) -> Edge:
    """The same, running, as the test before left it."""
    if not off.machine.is_on():
        off.power_on()
    return off


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of what was measured."""
    if found := config.stash.get(TIMES, {}):
        terminalreporter.section("measured on machines, in seconds")
        for what, seconds in found.items():
            terminalreporter.write_line(f"{seconds:8.3f}  {what}")
