# SPDX-License-Identifier: Apache-2.0
"""Changes by other programs, under continuous probes: what gets through, how long, and who is named as the author."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.daemon.watch.conftest import ALLOWED, DENIED, watched
from tests.support.daemons import daemon

if TYPE_CHECKING:
    from tests.kernel.daemon.watch.conftest import Edge

TAMPERING = {
    "flush ruleset": ("nft flush ruleset", "nothing in force"),
    "delete our table": ("nft delete table inet geodrop", "nothing in force"),
    "empty our hook": ("nft flush chain inet geodrop prerouting", "nothing in force"),
    "a rule in our table": ("nft insert rule inet geodrop prerouting accept", "accept"),
    "put to sleep": ("nft add table inet geodrop { flags dormant; }", "nothing in force"),
}
REHOOKED = {
    "a policy that drops": "chain inet geodrop prerouting { policy drop; }",
    "no hook": "add chain inet geodrop prerouting",
    "another hook": "add chain inet geodrop prerouting { type filter hook postrouting priority 300; }",
    "another priority": "add chain inet geodrop prerouting { type filter hook prerouting priority 300; }",
}
"""What another program makes of the chain that packets enter; all but the first delete it before."""
DETACH = f"""{sys.executable} -c '
import glob
from geodrop.linux import libbpf
for path in glob.glob("/sys/fs/bpf/geodrop/netns/*/links/*"):
    link = libbpf.get(path)
    assert libbpf.library().bpf_link_detach(link) == 0
'"""
REPAIRED = 20.0
"""Seconds, by the probes: from before the command to the last probe that came through. The target is 1.0; the measured
gap is printed, and machines that run tests are shared.
"""


def repaired_since(before: int, status: Any) -> bool:  # noqa: ANN401 - an object of JSON
    """Whether there were repairs since."""
    return bool(status["repaired"] > before)


def whole_again(before: int, status: Any) -> bool:  # noqa: ANN401 - an object of JSON
    """Whether there were repairs since, and nothing is left to repair."""
    return bool(status["repaired"] > before and status["healthy"])


@pytest.mark.parametrize("name", TAMPERING)
def test_foreign_changes_are_repaired(edge: Edge, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Denied probes get through for a moment, allowed ones all the time; log, status and history name nft."""
    command, found = TAMPERING[name]
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        # Wait for the daemon's first inspection: one under way would find the change before it hears of its author.
        edge.until(lambda status: status["healthy"])
        time.sleep(0.3)
        since = time.monotonic()
        edge.host.netns.run(*command.split(maxsplit=1)[:1], command.split(maxsplit=1)[1])
        status = edge.until(lambda status: status["repaired"] == 1)
        until = time.monotonic()
        leaked, allowed = (probes.outcome(source, since, until) for source in (DENIED, ALLOWED))
    [repair] = status["repairs"]
    assert repair["culprit"].startswith("nft (process ")
    assert found in repair["what"]
    assert (repair["generation"], status["healthy"]) == (2, True)
    assert 'event="repaired what another program changed"' in running.log
    newest = edge.geodrop.good("history", "--json").json_lines[0]
    assert (newest["origin"], newest["why"]) == ("repair", repair["culprit"])
    gap = leaked.last_passed - since if leaked.last_passed else 0.0
    assert 0 < leaked.passed < leaked.sent
    assert allowed.passed == allowed.sent
    assert gap < REPAIRED
    with capsys.disabled():
        print(f"\n{name}: repaired {repair['seconds'] * 1e3:.0f} ms after the event, gap {gap * 1e3:.0f} ms with nft")


@pytest.mark.parametrize("name", REHOOKED)
def test_the_chain_that_packets_enter_is_made_again(edge: Edge, name: str) -> None:
    """Whatever became of its hook: without the repair nobody would be judged, or nobody let in."""
    removed = "flush chain inet geodrop prerouting\ndelete chain inet geodrop prerouting\n"
    with watched(edge) as (_, ends):
        edge.until(lambda status: status["healthy"])
        edge.host.netns.nft(f"{removed if name != 'a policy that drops' else ''}{REHOOKED[name]}\n")
        edge.until(lambda status: status["repaired"] == 1 and status["healthy"])
        edge.geodrop.good("verify", "--full")
        with edge.probing(ends) as probes:
            since = time.monotonic()
            time.sleep(0.5)
            denied, allowed = (probes.outcome(source, since, time.monotonic()) for source in (DENIED, ALLOWED))
        assert (denied.passed, allowed.passed) == (0, allowed.sent)
        assert allowed.sent


def test_changes_of_others_are_theirs(edge: Edge) -> None:
    """Foreign tables come and go, a thousand rules among them: nothing is loaded, logged or reported."""
    with watched(edge) as (running, _):
        edge.until(lambda status: status["healthy"])
        before, table = running.log, edge.host.netns.run("nft", "-a", "list", "table", "inet", "geodrop")
        rules = "".join(f"add rule ip theirs c ip saddr 192.0.2.{number % 256} drop\n" for number in range(1000))
        edge.host.netns.nft(f"add table ip theirs\nadd chain ip theirs c\n{rules}")
        edge.host.netns.nft("delete table ip theirs\n")
        time.sleep(0.5)
        assert running.log == before
        assert edge.status()["repaired"] == 0
        assert edge.host.netns.run("nft", "-a", "list", "table", "inet", "geodrop") == table


def test_a_program_that_fights(edge: Edge) -> None:
    """Each change is repaired; log and history stay small, and status says that a program keeps doing it."""
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        since = time.monotonic()
        status: Any = {"repaired": 0}
        while status["repaired"] < 8:
            before = status["repaired"]
            edge.host.netns.run("nft", "flush", "ruleset")
            status = edge.until(partial(repaired_since, before))
        leaked = probes.outcome(DENIED, since)
    assert any("keeps undoing" in problem for problem in status["problems"])
    assert running.log.count("repaired what another program changed") == 5
    assert sum(entry["origin"] == "repair" for entry in edge.geodrop.good("history", "--json").json_lines) == 5
    assert leaked.passed < leaked.sent


def test_what_others_put_into_our_table(edge: Edge) -> None:
    """A foreign chain that drops everything is removed once: no new generation, status is healthy and names the author.

    Neither the removal nor later changes outside our table lead to another repair.
    """
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        edge.until(lambda status: status["healthy"])
        edge.host.netns.nft("add chain inet geodrop theirs { type filter hook input priority 0; policy drop; }\n")
        status = edge.until(lambda status: status["repaired"] == 1)
        [repair] = status["repairs"]
        assert "chain theirs" in repair["what"]
        assert repair["culprit"].startswith("nft (process ")
        for number in range(20):
            edge.host.netns.nft(f"add table ip others{number}\n")
        edge.geodrop.good("reload")
        status = edge.status()
        assert (status["generation"], status["repaired"], status["healthy"]) == (1, 1, True)
        assert running.log.count("repaired what another program changed") == 1
        since = time.monotonic()
        time.sleep(0.2)
        outcome = probes.outcome(ALLOWED, since)
        assert outcome.passed == outcome.sent > 0


def test_what_was_unloaded_stays_away(edge: Edge) -> None:
    """Neither a foreign commit nor a new interface restores what was unloaded on purpose."""
    with watched(edge):
        edge.geodrop.good("unload")
        edge.host.netns.nft("add table ip theirs\n")
        edge.plug(1)
        time.sleep(0.5)
        status = edge.status()
        assert (status["enforcing"], status["repaired"]) == (False, 0)


def test_paused_is_not_drift(edge: Edge) -> None:
    """A flush during a pause is repaired to the paused ruleset: nothing is dropped before or after it."""
    with watched(edge) as (_, ends), edge.probing(ends) as probes:
        edge.geodrop.good("pause", "--why", "test")
        since = time.monotonic()
        edge.host.netns.run("nft", "flush", "ruleset")
        status = edge.until(lambda status: status["repaired"] == 1)
        assert (status["paused"], status["healthy"]) == (True, True)
        outcome = probes.outcome(DENIED, since, time.monotonic())
        assert outcome.passed == outcome.sent > 0


def test_a_selection_that_changes_with_interfaces(edge: Edge) -> None:
    """If a pattern needs names, an interface that arrives gets its rule, one that goes loses it; that is no repair."""
    edge.agent("nftables", '["eth[0-9]"]')
    with watched(edge) as (running, _):
        ends = edge.plug(1)
        edge.until(lambda status: len(status["interfaces"]) == 2)
        with edge.probing(ends) as probes:
            assert probes.outcome(DENIED).passed == 0
        edge.host.netns.run("ip", "link", "set", "eth1", "down")
        edge.host.netns.run("ip", "link", "set", "eth1", "name", "eth7")
        edge.until(lambda status: {one["name"] for one in status["interfaces"]} == {"eth0", "eth7"})
        edge.host.netns.run("ip", "link", "delete", "eth7")
        status = edge.until(lambda status: len(status["interfaces"]) == 1)
        assert (status["generation"], status["repaired"]) == (1, 0)
        assert 'event="interfaces changed"' in running.log


def test_default_routes(edge: Edge) -> None:
    """Without `interfaces` rules follow default routes of all tables; a judged interface stays judged while it exists.

    So it does while the route is elsewhere for a moment: the addresses are still reached.
    """
    path = edge.host.folder / "agent.yaml"
    path.write_text(path.read_text().replace('interfaces: ["eth*"]\n', ""))
    run = edge.host.netns.run
    edge.plug(0)
    for name in ("up0", "up1", "up2"):
        # Of the kinds selected without being named, this one needs no hardware.
        run("ip", "link", "add", "link", "eth0", "name", name, "type", "macvlan")
        run("ip", "link", "set", name, "up")
    run("ip", "route", "add", "default", "dev", "up0")
    with daemon(edge.geodrop):
        assert edge.interfaces() == {("up0", "nftables")}
        run("ip", "route", "replace", "default", "dev", "up1")
        edge.until(lambda status: status["judged"] == ["up0", "up1"])
        run("ip", "route", "add", "default", "dev", "up2", "table", "100")
        edge.until(lambda status: status["judged"] == ["up0", "up1", "up2"])
        run("ip", "link", "delete", "up2")
        edge.until(lambda status: status["judged"] == ["up0", "up1"])
        run("ip", "route", "delete", "default")
        run("nft", "flush", "ruleset")
        status = edge.until(lambda status: status["repaired"] == 1)
        assert [one["name"] for one in status["interfaces"]] == ["up0", "up1"]


def test_xdp_what_is_unpinned_detached_or_gone(xdp_edge: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    """Removing a pin is an event, a detached link is seen within a second; both are attached again."""
    edge = xdp_edge
    gaps = {}
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        assert edge.interfaces() == {("eth0", "xdp"), ("eth*", "nftables")}
        pins = "/sys/fs/bpf/geodrop/netns/*"
        for name, command in {
            "link unpinned": f"rm {pins}/links/*",
            "program unpinned": f"rm {pins}/set-*/geodrop",
            "everything unpinned": f"rm -r {pins}/*",
            "link detached": DETACH,
        }.items():
            before = edge.status()["repaired"]
            since = time.monotonic()
            edge.inside("sh", "-c", command)
            # One repair may coincide with the rest of what `rm -r` removes; then there is another.
            edge.until(partial(whole_again, before))
            leaked = probes.outcome(DENIED, since)
            gaps[name] = leaked.last_passed - since if leaked.last_passed else 0.0
            assert edge.interfaces() == {("eth0", "xdp"), ("eth*", "nftables")}, name
            assert gaps[name] < REPAIRED, name
        assert running.process.poll() is None
    with capsys.disabled():
        print("\n" + "\n".join(f"{name}: gap {gap * 1e3:.0f} ms" for name, gap in gaps.items()))


def test_xdp_takes_over_what_arrives(xdp_edge: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    """Nftables judges a new interface from its first packet on, until xdp does; one that comes back is attached."""
    edge = xdp_edge
    with watched(edge) as (running, _):
        for number in (1, 0):
            if number == 0:
                edge.host.netns.run("ip", "link", "delete", "eth0")
            began = time.monotonic()
            ends = edge.plug(number)
            with edge.probing(ends) as probes:
                edge.until(lambda status: {one["name"] for one in status["interfaces"]} == {"eth0", "eth1", "eth*"})
                outcome = probes.outcome(DENIED)
            assert outcome.passed == 0 < outcome.sent
            with capsys.disabled():
                print(f"\neth{number} is judged by xdp, told {time.monotonic() - began:.2f} s after it came")
        status = edge.until(lambda status: status["healthy"])
        assert (status["generation"], status["repaired"]) == (1, 0)
        edge.host.netns.run("ip", "link", "delete", "eth1")
        edge.until(lambda status: {one["name"] for one in status["interfaces"]} == {"eth0", "eth*"})
        assert running.process.poll() is None
