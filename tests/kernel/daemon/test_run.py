# SPDX-License-Identifier: Apache-2.0
"""The life of the daemon: what it starts from, what stays when it ends, and that there is only one."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.data import bundled_database
from geodrop.demo import policies
from tests.support.cli import TIMEOUT
from tests.support.daemons import Daemon, daemon
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host


def test_ready_means_in_force(host: Host, running: Daemon) -> None:
    """READY comes after the policy was compiled, loaded and read back; each phase was reported."""
    status = host.geodrop.good("status", "--json").json
    assert (status["enforcing"], status["healthy"], status["daemon"]) == (True, True, True)
    assert status["last_reload"]["good"] is True
    assert host.drops("1.0.0.1")
    assert not host.drops("2.0.0.1")
    phases = [line for message in running.said for line in message.splitlines() if line.startswith("STATUS=")]
    assert phases[:4] == [
        "STATUS=looking at what is in force",
        "STATUS=reload: reading agent.yaml",
        "STATUS=reload: compiling",
        "STATUS=reload: loading",
    ]
    assert all(phase.startswith("STATUS=generation 0 -> 1: ") for phase in phases[4:])
    assert not any("RELOADING" in message for message in running.said)


def test_it_stays_small(host: Host) -> None:
    """52 MB at most (PSS) once it has loaded the bundled database and reads interfaces: it runs for months."""
    bundled_database(host.geodrop.folder).replace(host.geodrop.folder / "country.mmdb")
    (host.geodrop.folder / "policy.yaml").write_text(policies.example())
    with daemon(host.geodrop) as running:
        host.geodrop.good("reload")
        assert running.memory() < 52e6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_ends_it_changes_nothing(host: Host, running: Daemon, number: signal.Signals) -> None:
    """After a stop or a kill the kernel holds the same rules, and status answers without the daemon."""
    before = host.table()
    code = running.end(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert host.table() == before
    status = host.geodrop.run("status", "--json").json
    assert (status["state"], status["daemon"]) == ("enforcing, but degraded", False)
    [problem] = status["problems"]
    assert problem.startswith("no daemon runs any more, so nothing is repaired; next: ")
    assert running.control.exists() == (number == signal.SIGKILL)


def test_the_next_one_takes_over(host: Host) -> None:
    """After kill -9 a new daemon replaces the dead socket and leaves the generation in force as it is."""
    with daemon(host.geodrop) as first:
        first.end(signal.SIGKILL)
    before = host.table()
    with daemon(host.geodrop) as second:
        assert "the last good ruleset is in force already" in second.log
        assert host.table() == before
        assert "unchanged" in host.geodrop.good("reload").out


def test_a_table_of_our_name_is_in_the_way(host: Host) -> None:
    """A foreign table stays, and requests are told what to do (69); the daemon runs, and enforces once it is gone."""
    host.netns.run("nft", "add", "table", "inet", "geodrop", "{ chain other { } ; }")
    foreign = host.table()
    with daemon(host.geodrop) as running:
        for verb in ("status", "pause", "unload"):
            refused = host.geodrop.run(verb)
            assert refused.code == 69
            assert "look at it with: nft list table inet geodrop; delete or rename it" in refused.err
        assert host.table() == foreign
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        deadline = time.monotonic() + TIMEOUT
        while "comment" not in host.table():
            assert time.monotonic() < deadline, running.log
            time.sleep(0.1)
        assert running.process.poll() is None
    assert host.drops("1.0.0.1")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_boot_loaded_is_taken_over(host: Host, *, elsewhere: bool) -> None:
    """What is in force is not loaded again; if other interfaces are to be judged, only the rules of the hook change."""
    with daemon(host.geodrop) as first:
        first.end()
    host.netns.run("nft", "flush", "ruleset")
    if elsewhere:
        text = (host.folder / "agent.yaml").read_text()
        (host.folder / "agent.yaml").write_text(text.replace("interfaces: [lo]", 'interfaces: ["eth*"]'))
    host.geodrop.good("load", "--boot")
    booted = parts_of(host)
    host.agent()
    with daemon(host.geodrop) as second:
        assert "the last good ruleset is in force already" in second.log
        assert parts_of(host) == booted
        assert 'iifname "lo"' in host.table()
        assert ('iifname "eth' in host.table()) is False
        status = host.geodrop.good("status", "--json").json
        assert (status["generation"], status["healthy"]) == (2, True)


def parts_of(host: Host) -> list[str]:
    """Return the table, its chains and its maps, each with the handle that the kernel gave it."""
    lines = map(str.strip, host.netns.run("nft", "-a", "list", "table", "inet", "geodrop").splitlines())
    return [line for line in lines if line.startswith(("table", "chain", "map")) and "# handle" in line]


def test_last_good_comes_before_the_compiler(host: Host) -> None:
    """What another program removed meanwhile is restored before the source is read: the source may be broken."""
    with daemon(host.geodrop) as first:
        first.end()
    host.netns.run("nft", "flush", "ruleset")
    (host.folder / "policy.yaml").write_text("version: 1\nservices: {}\n")
    with daemon(host.geodrop) as second:
        assert "the last good ruleset is loaded again" in second.log
        assert host.drops("1.0.0.1")
        status = host.geodrop.run("status", "--json")
        assert status.code == 1
        assert "failed" in status.json["problems"][0]


def test_new_source_at_the_start(host: Host) -> None:
    """A policy that changed while no daemon ran is in force when the daemon is ready."""
    with daemon(host.geodrop) as first:
        first.end()
    host.deny("RU")
    with daemon(host.geodrop):
        assert [host.drops(address) for address in ("1.0.0.1", "2.0.0.1")] == [False, True]


def test_unload_is_remembered(host: Host) -> None:
    """A new daemon does not restore what was unloaded on purpose; a reload does."""
    with daemon(host.geodrop) as first:
        assert "unloaded" in host.geodrop.good("unload").out
        assert host.table() == ""
        first.end()
    with daemon(host.geodrop) as second:
        assert "unloaded on request" in second.said[-1]
        assert host.table() == ""
        assert host.geodrop.run("status").code == 3
        host.geodrop.good("reload")
        assert host.drops("1.0.0.1")


def test_a_saved_table_is_never_taken_over(host: Host) -> None:
    """Loaded beside a daemon, it is repaired or removed; without one `status` names it, and the start replaces it."""
    with daemon(host.geodrop) as first:
        earlier = "flush ruleset\n" + host.table()
        host.deny("CN", "RU")
        host.geodrop.good("reload")
        host.netns.nft(earlier)
        until(lambda: host.geodrop.run("status", "--json").json["repaired"])
        assert host.drops("2.0.0.1")
        host.geodrop.good("unload")
        host.netns.nft(earlier)
        until(lambda: host.table() == "")
        host.geodrop.good("reload")
        first.end()
    host.netns.nft(earlier)
    status = host.geodrop.run("status", "--json")
    assert (status.code, status.json["healthy"]) == (1, False)
    assert any("in force is ruleset" in one and "asked for was" in one for one in status.json["problems"])
    assert host.geodrop.run("verify").code == 1
    host.deny("broken!!")
    with daemon(host.geodrop):
        assert host.drops("2.0.0.1")


def test_first_boot_open(host: Host) -> None:
    """With nothing to fall back to, a broken policy leaves the host open, loudly; the corrected policy is loaded."""
    (host.folder / "policy.yaml").write_text("version: 1\nservices: {}\n")
    with daemon(host.geodrop) as running:
        assert "level=critical" in running.log
        status = host.geodrop.run("status", "--json")
        assert status.code == 3
        assert "services" in status.json["problems"][0]
        host.deny("CN")
        host.geodrop.good("reload")
        assert host.drops("1.0.0.1")


def test_first_boot_closed(host: Host) -> None:
    """With `first_boot: closed` nothing new gets in until there is a policy; the daemon runs, and loads it then."""
    host.agent(more="first_boot: closed\n")
    (host.folder / "policy.yaml").write_text("version: 1\nservices: {}\n")
    with daemon(host.geodrop):
        status = host.geodrop.run("status", "--json")
        assert status.code == 1
        assert any("first_boot: closed" in problem for problem in status.json["problems"])
        assert host.drops("2.0.0.1")
        host.deny("CN")
        host.geodrop.good("reload")
        assert [host.drops(address) for address in ("1.0.0.1", "2.0.0.1")] == [True, False]


def test_damaged_last_good_ruleset(host: Host) -> None:
    """If the last good ruleset is damaged and the source broken, the newest ruleset before it is loaded."""
    with daemon(host.geodrop) as first:
        host.deny("RU")
        host.geodrop.good("reload")
        digest = host.geodrop.good("status", "--json").json["digest"]
        first.end()
    kept = host.folder / "state" / "rulesets" / f"{digest}.ruleset"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    host.netns.run("nft", "flush", "ruleset")
    (host.folder / "policy.yaml").write_text("version: 1\nservices: {}\n")
    with daemon(host.geodrop):
        assert [host.drops(address) for address in ("1.0.0.1", "2.0.0.1")] == [True, False]


@pytest.mark.parametrize(
    ("agent", "code"), [("state: /nowhere\n", 78), ("source: {ruleset: a\n", 78), ("source: {ruleset: a}\nx: 1\n", 78)]
)
def test_agent_yaml_that_cannot_be_used(host: Host, agent: str, code: int) -> None:
    """With nothing to enforce, or a wrong file, the daemon ends at once, and systemd does not restart it."""
    (host.folder / "agent.yaml").write_text(agent)
    done = host.geodrop.run("run")
    assert done.code == code
    assert "agent.yaml" in done.err


def test_only_one(host: Host, running: Daemon) -> None:
    """A second daemon and a load by hand end at once with 75 and name the running daemon, which goes on."""
    [ruleset] = (host.folder / "state" / "rulesets").iterdir()
    for command in (("run",), ("load", str(ruleset)), ("load", str(ruleset), "--interface", "lo")):
        done = host.geodrop.run(*command)
        assert done.code == 75
        assert f"the geodrop daemon (pid {running.process.pid})" in done.err
        assert "geodrop reload" in done.err
    assert host.geodrop.good("status", "--json").json["generation"] == 1


def test_watchdog_is_fed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a watchdog, systemd hears from the daemon at least twice in the time it allows."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with daemon(host.geodrop) as running:
        for _ in range(3):
            running.wait_for("WATCHDOG=1")


def test_log_has_fields(host: Host, running: Daemon) -> None:
    """Each event is a line with its fields: who asked for what, and how it ended."""
    host.geodrop.good("reload")
    lines = running.log.splitlines()
    assert any("event=asked verb=reload uid=0 pid=" in line for line in lines)
    assert all(line.startswith("timestamp=") for line in lines)


def test_answers_without_files(host: Host, running: Daemon) -> None:
    """Each reading verb gives the same answer with the daemon and without it."""
    commands = [("counters", "--json"), ("verify", "--json"), ("verify",), ("explain", "--json", "1.0.0.1", "x")]
    asked = [host.geodrop.run(*command) for command in commands]
    running.end()
    assert asked == [host.geodrop.run(*command) for command in commands]
    assert [done.code for done in asked] == [0, 0, 0, 65]
    assert json.loads(asked[1].out)["agrees"] is True
