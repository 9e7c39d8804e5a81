# SPDX-License-Identifier: Apache-2.0
"""A reload that a limit holds changes nothing, and says which command accepts exactly its bytes."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from tests.support.daemons import daemon
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    import pytest

    from tests.kernel.daemon.conftest import Host
    from tests.support.daemons import Daemon

STRICT = "limits: {blast_radius: 0%}\n"
SSH_DENIED = """
version: 1
services:
  all: {default: allow, unknown: allow, deny: [RU]}
never_drop: {ports: {tcp: [2222]}}
"""


def deny(host: Host, *regions: str) -> None:
    """Write a policy that allows no change which drops anything new."""
    host.deny(*regions)
    with (host.folder / "policy.yaml").open("a") as policy:
        policy.write(STRICT)


def test_held_until_it_is_accepted(host: Host, running: Daemon) -> None:
    """The old generation stays, and everybody hears it: the caller, systemd, the log, status, history. The digest that
    was shown takes exactly those bytes, and no other.
    """
    del running
    before = host.table()
    deny(host, "CN", "RU")
    digest = host.geodrop.good("plan", "--json").json["digest"]
    held = host.geodrop.run("reload")
    accept = f"geodrop reload --accept {digest[:12]}"
    assert (held.code, held.out) == (5, "")
    assert held.err.splitlines()[-3:] == [
        "held: api: <0.1% of IPv4 would change, limit 0% (policy.yaml:5); generation 1 stays",
        "  RU 256 IPv4, 0 IPv6 /48s newly dropped (policy.yaml:4 deny: RU)",
        f"  accept exactly this: {accept}",
    ]
    assert host.table() == before
    status = host.geodrop.run("status", "--json")
    assert (status.code, status.json["state"]) == (1, "enforcing, but degraded")
    [limit] = status.json["held"]
    assert host.geodrop.run("reload", "--json").json["held"] == [limit]
    assert [limit[name] for name in ("limit", "service", "allowed", "accept")] == [
        "blast_radius",
        "api",
        0,
        digest[:12],
    ]
    assert 0 < limit["value"] < 0.0001
    assert accept in status.json["problems"][0]
    [entry] = host.geodrop.good("history", "-n", "1", "--json").json_lines
    assert (entry["outcome"], entry["digest"], entry["previous_generation"]) == ("held", digest, 1)
    assert entry["error"].startswith("held: api: ")
    # Other bytes than those that were accepted: one more region.
    deny(host, "CN", "RU", "US")
    other = host.geodrop.run("reload", "--accept", digest[:12])
    assert (other.code, host.table()) == (5, before)
    assert "held: api: " in other.err
    deny(host, "CN", "RU")
    taken = host.geodrop.good("reload", "--accept", digest[:12])
    assert "generation 1 -> 2: api drops RU" in taken.out
    [*_, entry] = [one for one in reversed(host.geodrop.good("history", "--json").json_lines) if one["accept"]]
    assert (entry["accept"], entry["generation"], entry["drops"][0]["lines"]) == (digest[:12], 2, ["CN", "RU"])
    assert host.geodrop.good("history", "--verify", "--json").json["good"]
    cn, ru = host.geodrop.good("history", "--coverage", "--json").json_lines
    assert (cn["gaps"], ru["gaps"][0]["cause"]) == ([], "not in the policy")
    assert host.geodrop.good("status", "--json").json["held"] == []
    assert host.geodrop.good("reload").out.startswith("generation 2: unchanged")


def test_an_accepted_digest_loads_nothing_else(host: Host, running: Daemon) -> None:
    """Where nothing is held, --accept still loads only what it names; a digest that is none is a usage error."""
    del running
    before = host.table()
    host.deny("RU")
    refused = host.geodrop.run("reload", "--accept", "0" * 12)
    assert (refused.code, host.table()) == (5, before)
    assert "000000000000 was accepted, and policy and databases now make" in refused.err
    assert [host.geodrop.run("reload", "--accept", text).code for text in ("0" * 11, "x" * 12)] == [2, 2]
    assert json.loads(host.geodrop.run("reload", "--json", "--accept", "0" * 12).out)["exit"] == 5


def test_what_cannot_be_compared_is_held(host: Host, running: Daemon) -> None:
    """If the ruleset in force is gone from the disk, a change waits; the same policy is not one, and puts it back."""
    del running
    for file in (host.folder / "state" / "rulesets").iterdir():
        file.unlink()
    host.deny("RU")
    held = host.geodrop.run("reload")
    assert held.code == 5
    assert "held: what would change is not known (the ruleset in force (" in held.err
    assert "generation 1 stays" in held.err
    host.deny("CN")
    assert "unchanged" in host.geodrop.good("reload").out
    assert host.geodrop.run("status", "--json").json["held"] == []
    assert list((host.folder / "state" / "rulesets").iterdir())


def test_an_unblock_and_a_rollback_pass(host: Host, running: Daemon) -> None:
    """What only accepts more is not held, and going back never is."""
    del running
    deny(host)
    host.geodrop.good("reload")
    assert not host.drops("1.0.0.1")
    host.geodrop.good("rollback")
    assert host.drops("1.0.0.1")


def test_the_operator_is_not_locked_out(host: Host, running: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that cuts the SSH connection that the command was typed in is held; from elsewhere it loads."""
    del running
    (host.folder / "policy.yaml").write_text(SSH_DENIED)
    monkeypatch.setenv("SSH_CONNECTION", "2.0.0.9 50000 192.0.2.1 22")
    held = host.geodrop.run("reload")
    assert held.code == 5
    assert "held: your SSH connection from 2.0.0.9 (RU) would be dropped by all" in held.err
    monkeypatch.setenv("SSH_CONNECTION", "3.0.0.9 50000 192.0.2.1 22")
    host.geodrop.good("reload")
    assert host.drops("2.0.0.9")


def test_nobody_asked(host: Host) -> None:
    """A start, a signal and `watch: true` judge changed inputs like a reload: the last good stays, and status says so.

    Here it is a database that moves a network to a denied country.
    """
    deny(host, "CN")
    host.agent(more="watch: true\n")
    with daemon(host.geodrop) as running:
        assert host.drops("1.0.0.1"), "the first generation is not held"
        records = {f"{number}.0.0.0/24": country("CN") for number in (1, 2)} | {"3.0.0.0/24": country("US")}
        write_database(host.folder / "country.mmdb", records)
        running.wait_for("STATUS=held: ")
        assert not host.drops("2.0.0.1")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("STATUS=held: ")
    with daemon(host.geodrop):
        status = host.geodrop.run("status", "--json").json
        assert status["state"] == "enforcing, but degraded"
        assert {one["limit"] for one in status["held"]} == {"blast_radius", "countries"}
        assert (host.drops("1.0.0.1"), host.drops("2.0.0.1")) == (True, False)
        host.geodrop.good("reload", "--accept", status["held"][0]["accept"])
        assert host.drops("2.0.0.1")
