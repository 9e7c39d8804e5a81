# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: machines, kept for one file of tests, and the table of measurements."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import ALLOWED, DENIED, SWITCHED, edge, require_machines
from tests.system.machine import BUILD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.edge import Edge

TIMES = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def machines() -> Iterator[Path]:
    """Yield the folder with the machines of this session.

    They take half a gigabyte in each process, and /tmp may be in memory and hold little more.
    """
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="machines-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> dict[str, float]:
    """Return seconds by what was measured; printed at the end of the session."""
    return request.config.stash.setdefault(TIMES, {})


@pytest.fixture(scope="module")
def off(times: dict[str, float], machines: Path) -> Iterator[Edge]:
    """Return a host that was never started, for tests of the first boot: Debian 12, or the environment's choice."""
    require_machines()
    with edge(os.environ.get("GEODROP_TEST_RELEASE", "bookworm"), machines, times) as host:
        yield host


@pytest.fixture
def host(off: Edge) -> Edge:
    """Return the same host, running, as the previous test left it."""
    if not off.machine.is_on():
        off.power_on()
    return off


@pytest.fixture
def settled(host: Edge) -> Iterator[Edge]:
    """Yield the host, healthy before and after, with its first policy in force."""
    host.wait_for_health()
    yield host
    host.wait_for_health()
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of measurements."""
    if found := config.stash.get(TIMES, {}):
        terminalreporter.section("measured on machines, in seconds")
        for what, seconds in found.items():
            terminalreporter.write_line(f"{seconds:8.3f}  {what}")
