# SPDX-License-Identifier: Apache-2.0
"""What stays on a host as time goes by, on real systemd: rulesets, the history and the states of network namespaces are
bounded, and what is needed is never among what goes.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from geodrop.state.history import MAX_BYTES
from geodrop.state.names import MAX_TEXT
from tests.system.edge import AGENT, ALLOWED, DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

STATE = "/var/lib/geodrop"
LISTED = POLICY.replace("services:", "lists:\n  threats: {file: threats.txt}\nservices:")
LISTED = LISTED.replace("deny: [CN,", "deny: [list:threats, CN,")
THREATS = "/etc/geodrop/threats.txt"

APART = "/etc/systemd/system/geodrop-apart.service"
UNIT = """
[Service]
Type=notify
NetworkNamespacePath=/run/netns/apart
ExecStart=/opt/geodrop/bin/geodrop run
"""
MAKE_APART = """
ip netns add apart
ip -n apart link set lo up
ip -n apart link add eth0 type veth peer name far0
ip -n apart link set eth0 up
"""


def test_a_list_that_changes_often_fills_no_disk(settled: Edge) -> None:
    """Each change makes a whole ruleset of 26 MB: `keep` bounds how many stay, and how many bytes of them, from the
    reload on that exceeds it; what `rollback` goes back to is still there.
    """
    settled.policy(LISTED)
    digests = set()
    for number, keep, count, size in (
        (1, "{count: 2}", 2, 500e6),
        (2, "{count: 2}", 2, 500e6),
        (3, "{size: 60M}", 200, 60e6),
    ):
        settled.agent(f"{AGENT}keep: {keep}\n")
        _threaten(settled, number)
        with settled.watched(DENIED, ALLOWED + SWITCHED):
            assert settled.geodrop("reload").returncode == 0
        kept = _rulesets(settled)
        assert len(kept) <= count, kept
        assert sum(kept.values()) <= size, kept
        digests.add(settled.status()["digest"])
    assert len(digests) == number
    assert settled.geodrop("rollback").returncode == 0
    assert settled.status()["rolled_back"]
    settled.policy(POLICY)
    settled.agent(AGENT)
    settled.machine.run("rm", THREATS)
    assert settled.geodrop("reload").returncode == 0


def test_the_journal_proves_the_history(settled: Edge) -> None:
    """The hashes that daemon and boot told the journal are in the history. An altered record is found, and so is a
    history that ends before a record that the journal has. A pause is a gap, with who and why.
    """
    assert settled.geodrop("pause", "--for", "1h", "--why", "INC-123").returncode == 0
    assert settled.geodrop("resume", "--why", "INC-123 is over").returncode == 0
    settled.machine.run("journalctl", "--sync")
    cat = ("journalctl", "-b", "-o", "cat", "--output-fields=GEODROP_HEAD", "GEODROP_EVENT=recorded")
    heads = [settled.machine.run(*cat, "-n", "1").strip(), settled.machine.run(*cat, "GEODROP_ORIGIN=boot").split()[-1]]
    assert [len(head) for head in heads] == [64, 64]
    verify = ("history", "--verify", *(word for head in heads for word in ("--head", head)))
    verified = settled.geodrop(*verify)
    assert (verified.returncode, verified.stdout.count("has the hash")) == (0, 2), verified
    covered = [json.loads(line) for line in settled.geodrop("history", "--coverage", "--json").stdout.splitlines()]
    [cn] = [one for one in covered if one["line"] == "CN"]
    assert [(gap["user"], gap["why"]) for gap in cn["gaps"] if gap["cause"] == "pause"][-1] == ("root", "INC-123")
    history = _state(settled) / "history.jsonl"
    content = history.read_bytes()
    for altered, fault in (
        (content.replace(b'"INC-123"', b'"INC-124"'), "altered: the next line names another hash of it"),
        (content[: content[:-1].rfind(b"\n") + 1], "no record has the hash"),
        (content[:-9], "cut off after"),
    ):
        history.write_bytes(altered)
        verified = settled.geodrop(*verify)
        history.write_bytes(content)
        assert verified.returncode == 1
        assert fault in verified.stdout
    assert settled.geodrop(*verify).returncode == 0


def test_a_history_of_years_is_cut(settled: Edge) -> None:
    """Longer than it may be: the next change leaves the newest of it, and is in it."""
    history = _state(settled) / "history.jsonl"
    entry = json.loads(history.read_text().splitlines()[-1]) | dict.fromkeys(("why", "change", "error"), "x" * MAX_TEXT)
    line = f"{json.dumps(entry)}\n".encode()
    history.write_bytes(line * (MAX_BYTES // len(line) + 1) + history.read_bytes())
    assert settled.geodrop("pause", "--for", "1h").returncode == 0
    assert history.stat().st_size < MAX_BYTES
    assert settled.geodrop("resume").returncode == 0
    assert settled.told(3) == ["pause", "prune", "resume"]


def test_states_of_namespaces_go_with_the_boot(settled: Edge) -> None:
    """A daemon that systemd starts in another network namespace (NetworkNamespacePath=) has a state of its own, beside
    the machine's. It stays while the namespace may be there, whatever starts, and is gone after the next boot.
    """
    settled.machine.run("sh", "-e", "-c", MAKE_APART)
    settled.machine.write(APART, UNIT)
    settled.machine.run("systemctl", "daemon-reload")
    with settled.watched(DENIED, ALLOWED + SWITCHED):
        settled.machine.run("systemctl", "start", "geodrop-apart")
        [state] = _of_namespaces(settled)
        apart = settled.machine.try_run("ip", "netns", "exec", "apart", "geodrop", "status", "--json")
        assert apart.returncode == 0, apart
        settled.machine.run("systemctl", "restart", "geodrop")
        assert _of_namespaces(settled) == [state]
        assert (state / "intent.json").exists()
        settled.machine.run("systemctl", "stop", "geodrop-apart")
        settled.machine.run("ip", "netns", "delete", "apart")
    settled.power_off()
    assert _of_namespaces(settled) == [state]
    settled.power_on()
    assert _of_namespaces(settled) == []


def _threaten(host: Edge, count: int) -> None:
    """Write the list, with this number of prefixes."""
    host.machine.write(THREATS, "".join(f"5.{number}.7.0/24\n" for number in range(20, 20 + count)), 0o640)
    host.machine.own(THREATS, "root", "geodrop")


def _state(host: Edge) -> Path:
    return host.machine.root / STATE.lstrip("/")


def _rulesets(host: Edge) -> dict[str, int]:
    """Those that are kept, and the bytes that each takes."""
    return {path.stem: path.stat().st_size for path in (_state(host) / "rulesets").glob("*.ruleset")}


def _of_namespaces(host: Edge) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted((_state(host) / "netns").iterdir())
    return []
