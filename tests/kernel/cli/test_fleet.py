# SPDX-License-Identifier: Apache-2.0
"""`geodrop fleet` reads what `geodrop status --json` writes: real statuses of both engines, put side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from geodrop import __version__
from geodrop.fleet.answer import READS
from geodrop.report import status as report
from geodrop.report.state import State
from tests.support.cli import Done, Geodrop
from tests.support.users import as_user, open_to_others

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.cli.conftest import Host


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    """Return a folder for the statuses of a fleet."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    return folder


def fetch(host: Host, folder: Path, name: str) -> None:
    """Write what a host says of itself, as a playbook does."""
    (folder / f"{name}.json").write_text(host.geodrop.run("status", "--json").out)


def hosts(done: Done) -> dict[str, dict[str, Any]]:
    """Return the objects of the hosts by name, in their order."""
    return {one["host"]: one for one in done.json["hosts"]}


def test_the_schema_is_the_one_that_is_written() -> None:
    """A change of one of them is a change of the other."""
    assert report.SCHEMA == READS


def test_both_engines_side_by_side(xdp: Host, fetched: Path) -> None:
    """Each column is filled on each engine, and each state of a host is read."""
    geodrop = xdp.geodrop
    fetch(xdp, fetched, "empty")
    for engine in ("nftables", "xdp"):
        geodrop.good("load", "--engine", engine, "--interface", "eth0", xdp.cn)
        fetch(xdp, fetched, engine)
    geodrop.good("pause", "--why", "INC-1")
    fetch(xdp, fetched, "paused")
    geodrop.good("resume")
    geodrop.good("load", "--engine", "xdp", "--interface", "eth0", "--confirm-within", "1h", xdp.ru)
    fetch(xdp, fetched, "waiting")
    (fetched / "down.json").write_text('{"unreachable": true, "message": "no route to host"}')
    done = Geodrop(fetched).run("fleet", str(fetched), "--json")
    assert done.code == 1, done.err
    found = hosts(done)
    assert list(found) == ["down", "empty", "paused", "nftables", "waiting", "xdp"]
    states = {name: one.get("state") for name, one in found.items()}
    assert states == {
        "down": None,
        "empty": State.NOT_ENFORCING,
        "paused": State.PAUSED,
        "nftables": State.ENFORCING,
        "waiting": State.ENFORCING,
        "xdp": State.ENFORCING,
    }
    assert {name: one["odd"] for name, one in found.items()} == dict.fromkeys(found, True) | {"xdp": False}
    for name, engines in (("nftables", ["nftables"]), ("xdp", ["xdp native"])):
        one = found[name]
        assert (one["version"], one["engine"], one["engines"]) == (__version__, "auto", engines)
        assert one["observed_drop"] == one["time"]
        assert (one["drift"], one["repaired"], one["last_failure"]) == (0, 0, None)
        assert isinstance(one["database_built"], int)
    assert found["nftables"]["reasons"] == ["judged by nftables; 3 of 5 hosts with engine auto: xdp native"]
    assert found["paused"]["observed_drop"] is None
    [note] = found["waiting"]["notes"]
    assert note.startswith("not confirmed: goes back at 20")


def test_what_a_host_suffers_is_shown(host: Host, fetched: Path) -> None:
    """Drift, and a request that failed, are in the row of the host; nothing else of the fleet suffers."""
    host.geodrop.good("load", "--engine", "nftables", "--interface", "lo", host.cn)
    for name in ("one", "two"):
        fetch(host, fetched, name)
    alike = Geodrop(fetched).good("fleet", str(fetched))
    assert alike.out.splitlines()[-1] == "2 hosts, alike and well"
    host.netns.nft("insert rule inet geodrop g1 tcp dport 1 accept\n")
    fetch(host, fetched, "drifted")
    found = hosts(Geodrop(fetched).run("fleet", str(fetched), "--json"))
    assert found["drifted"]["drift"] > 0
    assert found["drifted"]["reasons"][0].startswith("problem: ")
    assert [one["odd"] for one in found.values()] == [True, False, False]


def test_anybody_may_ask_anywhere(host: Host, fetched: Path) -> None:
    """A user without rights, outside the namespace and without agent.yaml, sees the same table."""
    host.geodrop.good("load", "--engine", "nftables", "--interface", "lo", host.cn)
    fetch(host, fetched, "one")
    open_to_others(fetched)
    expected = Geodrop(fetched).good("fleet", str(fetched))
    (fetched / "agent.yaml").unlink()
    command = [*as_user(), sys.executable, "-m", "geodrop", "fleet", str(fetched)]
    assert host.netns.run(*command) == expected.out
