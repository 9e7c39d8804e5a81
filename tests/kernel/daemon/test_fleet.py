# SPDX-License-Identifier: Apache-2.0
"""`geodrop fleet` reads what a daemon adds to its status: drops, repairs, a reload that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.fleet.answer import HostStatus, read
from geodrop.report.state import State
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.daemon.conftest import Host
    from tests.support.daemons import Daemon


def asked(host: Host) -> HostStatus:
    """Return what is read of the daemon's answer."""
    path: Path = host.folder / "edge-1.json"
    path.write_text(host.geodrop.run("status", "--json").out)
    found = read(path)
    assert isinstance(found, HostStatus), found
    return found


def test_what_a_daemon_knows(host: Host, running: Daemon) -> None:
    """Drops are counted by the minute, a repair counts and leaves no drift, and a refused policy is a problem."""
    assert running.process.poll() is None
    until(lambda: asked(host).drops is not None)
    host.netns.nft("flush table inet geodrop\n")
    until(lambda: asked(host).repaired == 1)
    until(lambda: asked(host).drift == 0)
    (host.folder / "policy.yaml").write_text("version: 2\n")
    assert host.geodrop.run("reload").code == 78
    found = asked(host)
    assert (found.state, found.problem_count) == (State.DEGRADED, 1)
    assert found.failure is not None
    assert found.failure.origin == "reload"
