# SPDX-License-Identifier: Apache-2.0
"""Reload: one line and an exit code for the caller, and nothing changed after a failure."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.control import frame
from geodrop.daemon.reload import Reload
from geodrop.errors import BusyError
from geodrop.operations.change import by_me
from geodrop.operations.decisions import number
from geodrop.operations.load import apply_file
from geodrop.ruleset.container import MAX_OPENED
from geodrop.ruleset.model import Ruleset
from geodrop.state.lock import exclusive
from tests.kernel.daemon.conftest import POLICY
from tests.support.cli import TIMEOUT
from tests.support.daemons import Daemon, daemon, daemon_context, together

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host


def test_good(host: Host, running: Daemon) -> None:
    """The change is in force when the command returns, and its line says so; systemd hears of begin and end."""
    host.deny("RU")
    done = host.geodrop.good("reload")
    assert re.fullmatch(r"generation 1 -> 2: .*, [0-9,]+ ms\n", done.out)
    assert [host.drops(address) for address in ("1.0.0.1", "2.0.0.1")] == [False, True]
    running.wait_for("RELOADING=1\nMONOTONIC_USEC=")
    assert running.wait_for("READY=1") == f"READY=1\nSTATUS={done.out.rstrip()}"
    assert host.geodrop.good("reload", "--json").json["changed"] is False


def test_unchanged(host: Host, running: Daemon) -> None:
    """With the same input a reload does nothing, and says so."""
    del running
    before = host.table()
    assert "unchanged" in host.geodrop.good("reload").out
    assert host.table() == before


BAD = {
    "policy": ("policy.yaml", "version: 1\nservices: {api: {default: allow}}\n", 78, "policy.yaml:2:"),
    "no policy": ("policy.yaml", None, 78, "policy.yaml: No such file"),
    "failing test": (
        "policy.yaml",
        "version: 1\nservices:\n  api: {default: deny, unknown: deny,\n    expect: {accept: [1.0.0.0/31]}}\n",
        78,
        "policy.yaml:4:23: error: expect accept: 1.0.0.0/31 would be dropped",
    ),
    "database": ("country.mmdb", "nonsense", 65, "country.mmdb"),
    "no database": ("country.mmdb", None, 65, "country.mmdb: No such file"),
    "agent.yaml": ("agent.yaml", "source: 5\n", 78, "agent.yaml:1:"),
    "no source": ("agent.yaml", "keep: {count: 5}\n", 78, "no `source`"),
}

NEXT_STEPS = {"no source": "; next: write  source: {"}


@pytest.mark.parametrize("name", BAD)
def test_bad(host: Host, running: Daemon, name: str) -> None:
    """Exit code and message are those of the cause; nothing changed, and status says why until the next good reload.

    The history keeps the reason.
    """
    file, content, code, message = BAD[name]
    path, before = host.folder / file, host.table()
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_text(content)
    done = host.geodrop.run("reload")
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert host.table() == before
    assert running.process.poll() is None
    status = host.geodrop.run("status", "--json")
    assert status.code == 1
    assert (status.json["enforcing"], status.json["last_reload"]["good"]) == (True, False)
    assert message in status.json["problems"][0]
    assert NEXT_STEPS.get(name, "") in status.json["problems"][0]
    assert "STATUS=reload failed" in running.wait_for("READY=1")
    recorded = host.geodrop.good("history", "--json").json_lines[0]
    assert (recorded["origin"], recorded["outcome"], message in recorded["error"]) == ("reload", "failed", True)
    path.write_bytes(good)
    host.geodrop.good("reload")
    assert host.geodrop.good("status", "--json").json["problems"] == []


def test_signal_is_the_same(host: Host, running: Daemon) -> None:
    """SIGHUP reloads; a failure is in the status, and the daemon goes on."""
    host.deny("RU")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("STATUS=generation 1 -> 2")
    assert host.drops("2.0.0.1")
    (host.folder / "policy.yaml").write_text("no: policy\n")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("STATUS=reload failed")
    assert host.geodrop.run("status").code == 1


def test_many_at_once(host: Host, running: Daemon) -> None:
    """Each caller gets a result that includes its change, and callers share far fewer runs than requests."""
    host.deny("RU")
    done = together(host.geodrop, *[("reload",)] * 8)
    assert [one.code for one in done] == [0] * 8
    assert host.drops("2.0.0.1")
    assert sum("generation 1 -> 2" in one.out for one in done) >= 1
    assert running.log.count("event=asked verb=reload") == 8
    # The first run was that of the start.
    assert 2 <= running.log.count('event="reload done"') < 9


def test_who_goes_away_takes_nothing_along(host: Host, running: Daemon) -> None:
    """A reload goes on without the command that asked for it."""
    host.deny("RU")
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(running.control))
        channel.sendall(frame.encode({"verb": "reload", "args": {}}))
        running.wait_for("STATUS=reload: compiling")
    running.wait_for("STATUS=generation 1 -> 2")
    assert host.drops("2.0.0.1")


def test_prebuilt_ruleset(host: Host) -> None:
    """`source: {ruleset}` needs no compiler; a reload loads a new file, and refuses a damaged one."""
    first = host.geodrop.compile((host.folder / "policy.yaml").read_text(), host.folder / "country.mmdb", name="fleet")
    host.agent("{ruleset: fleet.ruleset}")
    with daemon(host.geodrop):
        assert host.drops("1.0.0.1")
        assert "unchanged" in host.geodrop.good("reload").out
        good = first.read_bytes()
        first.write_bytes(good[:-1] + b"x")
        assert host.geodrop.run("reload").code == 65
        host.deny("RU")
        host.geodrop.compile((host.folder / "policy.yaml").read_text(), host.folder / "country.mmdb", name="fleet")
        assert "generation 1 -> 2" in host.geodrop.good("reload").out
        assert host.drops("2.0.0.1")


def test_agent_yaml_is_read_again(host: Host, running: Daemon) -> None:
    """Interfaces of an edited agent.yaml apply at once, and answer, status and history name the new ones.

    Keys that only a start takes over are named in a warning.
    """
    del running
    host.agent(more="metrics: {listen: 127.0.0.1:9999}\n")
    agent = (host.folder / "agent.yaml").read_text()
    (host.folder / "agent.yaml").write_text(agent.replace("[lo]", '[lo, "eth*"]'))
    done = host.geodrop.good("reload")
    assert "metrics is taken over at the next start" in done.err
    digest = host.geodrop.good("status", "--json").json["digest"][:12]
    assert done.out.startswith(
        f"generation 1: ruleset {digest} as before, eth* now judged by nftables, once it is there, "
    )
    assert (
        host.geodrop.good("history", "-n", "1", "--json").json["change"]
        == "eth* now judged by nftables, once it is there"
    )
    assert {one["name"] for one in host.geodrop.good("status", "--json").json["interfaces"]} == {"lo", "eth*"}


def test_a_list_that_breaks_its_guard_changes_nothing(host: Host, running: Daemon) -> None:
    """A list that a failed download cut off is bad data (65); what was in force stays, and status says why."""
    (host.folder / "bad.txt").write_text("2.0.0.1\n")
    policy = (host.folder / "policy.yaml").read_text()
    lists = "lists: {bad: {file: bad.txt, guard: {entries: 100-}}}\nservices:"
    (host.folder / "policy.yaml").write_text(policy.replace("services:", lists).replace("[CN]", "[CN, 'list:bad']"))
    before = host.table()
    done = host.geodrop.run("reload")
    assert done.code == 65
    assert f"{host.folder}/bad.txt:1:1: error: 1 entry, and the guard of list" in done.err
    assert host.table() == before
    assert running.process.poll() is None
    assert "bad.txt:1:1: error: 1 entry" in host.geodrop.run("status", "--json").json["problems"][0]


def test_warnings_reach_who_asked(host: Host, running: Daemon) -> None:
    """Warnings of the compiler are on stderr of the command, as after `geodrop compile`."""
    del running
    policy = (host.folder / "policy.yaml").read_text()
    (host.folder / "policy.yaml").write_text(
        policy.replace("services:", "groups: {a: [CN], b: [CN]}\nservices:").replace(
            "deny: [CN]", "deny: ['group:a'], allow: ['group:b']"
        )
    )
    assert "warning" in host.geodrop.good("reload").err


def test_nothing_is_left_behind(host: Host, running: Daemon) -> None:
    """After good and failed reloads the daemon at rest has no more descriptors than after the first.

    Some sockets are closed a moment later. Each ruleset that it holds has two descriptors.
    """
    host.deny("RU")
    host.geodrop.good("reload")
    running.wait_for("STATUS=generation 1 -> 2")
    before = running.descriptors()
    for regions in (["CN"], ["RU"], ["nowhere"], ["US"]) * 2:
        host.deny(*regions)
        host.geodrop.run("reload")
    deadline = time.monotonic() + TIMEOUT
    while running.descriptors() > before + 1 + 2 * MAX_OPENED:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_history_says_what_changed_and_who_asked(host: Host, running: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reload that changed something or failed is a line in the history, with the user who became root for it; one
    without a change is not.
    """
    del running
    monkeypatch.setenv("SUDO_USER", "alice")
    for regions in (["CN", "RU"], ["CN", "RU"], ["nowhere"]):
        host.deny(*regions)
        host.geodrop.run("reload")
    entries = [entry for entry in host.geodrop.good("history", "--json").json_lines if entry["origin"] == "reload"]
    [failed] = [entry for entry in entries if entry["outcome"] == "failed"]
    [changed] = [entry for entry in entries if entry["generation"] == 2]
    assert changed["change"] == "api drops RU (<0.1% of IPv4), +1 -0 prefixes"
    assert "nowhere" in failed["error"]
    assert changed["uid"] == failed["uid"] == os.getuid()
    assert changed["sudo_user"] == failed["sudo_user"] == "alice"
    assert "asked for by alice (sudo)" in host.geodrop.good("history").out
    assert len(entries) == 3, "with that of the start"


def test_without_a_daemon(host: Host) -> None:
    """Without a daemon: 69, and how to start one."""
    done = host.geodrop.run("reload")
    assert done.code == 69
    assert "systemctl start geodrop" in done.err


def test_a_file_that_changes_is_loaded(host: Host) -> None:
    """With `watch: true` an edited policy is in force without a request, however soon after the start it is edited."""
    host.agent(more="watch: true\n")
    with daemon(host.geodrop) as running:
        host.deny("RU")
        running.wait_for("STATUS=generation 1 -> 2")
        assert "reloading, since files changed" in running.log
        assert host.drops("2.0.0.1")


def test_a_failure_is_an_object_too(host: Host, running: Daemon) -> None:
    """Programs read in JSON what is wrong, where, and what to do; people read it on stderr. So without a daemon."""
    host.deny("nowhere")
    failed = host.geodrop.run("reload", "--json")
    found = failed.json
    assert (failed.code, found["exit"]) == (78, 78)
    assert found["place"].startswith(f"{host.folder}/policy.yaml:")
    assert "nowhere" in found["error"]
    assert found["next_step"]
    assert f"{found['place']}: error: {found['error']}" in failed.err
    assert host.geodrop.run("status").out.count('"nowhere"') == 1, "each trouble once"
    running.end()
    dead = host.geodrop.run("reload", "--json")
    assert (dead.code, dead.json["exit"], dead.json["place"]) == (69, 69, None)


@pytest.mark.parametrize("judged", ["nothing", "another"])
def test_what_was_judged_is_what_is_changed(host: Host, judged: str) -> None:
    """No limit was asked about a change from what came in force meanwhile, also where nothing was before: 75."""
    first, second = (
        Ruleset.open(str(host.geodrop.compile(POLICY.format(deny=regions), host.folder / "country.mmdb", name=name)))
        for name, regions in (("first", "CN"), ("second", "CN, RU"))
    )
    config = Config(engine="nftables", interfaces=("lo",), state=host.folder / "state")
    asked = by_me("reload")
    reload = Reload(daemon_context(config), lambda: None)
    with exclusive():
        apply_file(first, config, "nftables", (), asked)
        before = host.table()
        with pytest.raises(BusyError, match="another ruleset came in force during the reload"):
            reload._apply(second, config, asked, "" if judged == "nothing" else second.digest, known=number())
        assert host.table() == before
        assert reload._apply(second, config, asked, first.digest, known=number()).changed
