# SPDX-License-Identifier: Apache-2.0
"""Break glass with a dead daemon and an unusable agent.yaml: each verb works and says which settings it used."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import TIMEOUT
from tests.support.daemons import daemon

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host


def damage(host: Host, how: str) -> None:
    """Make agent.yaml unusable."""
    path = host.folder / "agent.yaml"
    match how:
        case "torn":
            path.write_text(path.read_text()[:-1] + "\ninterfaces: [lo\nengine")
        case "not text":
            path.write_bytes(b"\xff\xfe\0\0" * 100)
        case _:
            path.unlink()
            os.mkfifo(path)


@pytest.mark.parametrize(
    ("how", "number"), [("torn", signal.SIGKILL), ("not text", signal.SIGTERM), ("no file", signal.SIGKILL)]
)
def test_the_glass_can_be_broken_without_agent_yaml(host: Host, how: str, number: signal.Signals) -> None:
    """All break-glass and reading verbs find the state directory of the last daemon, also one after the other.

    Each warns. What was asked for is still known after agent.yaml is corrected.
    """
    geodrop = host.geodrop
    with daemon(geodrop) as running:
        host.deny("RU")
        geodrop.good("reload")
        running.end(number)
    good = (host.folder / "agent.yaml").read_text()
    damage(host, how)
    said = f"state in {host.folder / 'state'}, that of the last daemon"

    def works(*command: str, code: int = 0) -> None:
        done = geodrop.run(*command)
        assert done.code == code, done.err
        assert said in done.err

    status = geodrop.run("status", "--json")
    assert (status.code, status.json["state"]) == (1, "enforcing, but degraded")
    assert said in status.json["problems"][0]
    works("verify")
    assert host.drops("2.0.0.1")
    assert not host.drops("1.0.0.1")
    works("pause", "--why", "INC-1")
    assert geodrop.run("status", "--json").json["state"] == "paused"
    works("resume")
    assert host.drops("2.0.0.1")
    works("rollback")
    assert host.drops("1.0.0.1")
    works("history")
    works("unload")
    assert "geodrop" not in host.table()
    (host.folder / "agent.yaml").unlink()
    (host.folder / "agent.yaml").write_text(good)
    assert geodrop.run("status", "--json").json["unloaded"] is True
    origins = [one["origin"] for one in geodrop.good("history", "--json").json_lines]
    assert origins[:4] == ["unload", "rollback", "resume", "pause"]


@pytest.mark.parametrize("how", ["torn", "not text", "no file", "gone"])
def test_a_boot_and_a_daemon_without_agent_yaml(host: Host, how: str) -> None:
    """What was in force is restored on its interfaces; loopback is only judged when it is named.

    The daemon repairs it, obeys the break-glass verbs, and works in full once the file is corrected.
    """
    geodrop, path = host.geodrop, host.folder / "agent.yaml"
    with daemon(geodrop) as running:
        running.end(signal.SIGKILL)
    good, named = path.read_text(), path
    if how == "gone":
        named = host.folder / "nowhere.yaml"
    else:
        damage(host, how)
    host.netns.run("nft", "flush", "ruleset")
    booted = geodrop.run("--config", str(named), "load", "--boot")
    assert (booted.code, booted.out.endswith("in force on lo\n")) == (78, True), booted.err
    assert "without agent.yaml, which cannot be used" in booted.err
    if how == "gone":
        return  # the unit starts no daemon then
    with daemon(geodrop) as running:
        assert "the last good ruleset is in force already" in running.log
        status = geodrop.run("status", "--json")
        assert (status.code, status.json["state"]) == (1, "enforcing, but degraded")
        assert "agent.yaml" in status.json["problems"][0]
        host.netns.run("nft", "flush", "ruleset")
        deadline = time.monotonic() + TIMEOUT
        while "geodrop" not in host.table():
            assert time.monotonic() < deadline, running.log
            time.sleep(0.1)
        assert geodrop.run("status", "--json").json["judged"] == ["lo"]
        assert host.drops("1.0.0.1")
        geodrop.good("pause")
        geodrop.good("resume")
        path.unlink()
        path.write_text(good)
        geodrop.good("reload")
        assert geodrop.good("status").code == 0


def test_a_daemon_with_nothing_to_look_after(host: Host) -> None:
    """A first start with a mistake in agent.yaml is refused, with the position of the mistake."""
    path = host.folder / "agent.yaml"
    path.write_text(path.read_text() + "sokket: /s\n")
    done = host.geodrop.run("run")
    assert (done.code, f"{path}:7:1: error: " in done.err) == (78, True)


def test_a_name_that_is_no_file_is_a_slip(host: Host) -> None:
    """No settings are assumed instead: 78, and nothing is changed."""
    nowhere = str(host.folder / "nowhere.yaml")
    with daemon(host.geodrop) as running:
        running.end()
    before = host.table()
    for verb in ("status", "pause", "resume", "rollback", "unload"):
        done = host.geodrop.run("--config", nowhere, verb)
        assert (done.code, nowhere in done.err) == (78, True)
    assert host.table() == before
