# SPDX-License-Identifier: Apache-2.0
"""A daemon beside a load that waits: reload, confirm, and an undo that it finds by itself."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.support.daemons import Daemon, daemon
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host


def test_reload_confirm_and_undo(host: Host, running: Daemon) -> None:
    """The daemon obeys confirm; at the deadline it finds the undo by itself, and says it in log and status."""
    geodrop = host.geodrop
    host.deny("RU")
    loaded = geodrop.good("reload", "--confirm-within", "1h", "--why", "CHG-1")
    assert "not confirmed: the kernel goes back to 1 at " in loaded.out
    status = geodrop.good("status", "--json").json
    assert status["confirm"]["digest"] == status["digest"]
    again = geodrop.good("reload", "--json", "--confirm-within", "2h").json
    assert again["generation"] == again["confirm"]["generation"] == 2
    assert "its deadline is set again" in geodrop.good("reload").out
    host.deny("US")
    assert geodrop.run("reload").code == 75
    geodrop.good("confirm", status["digest"][:12])
    assert geodrop.run("confirm", "0" * 12).code == 1
    geodrop.good("reload", "--confirm-within", "10s")
    assert host.drops("3.0.0.1")
    until(lambda: "was not confirmed and undone at" in running.log)
    found = geodrop.run("status", "--json")
    assert (found.code, found.json["state"]) == (1, "enforcing, but degraded")
    assert (found.json["generation"], found.json["rolled_back"], found.json["confirm"]) == (2, True, None)
    assert found.json["undone"] is not None
    assert host.drops("2.0.0.1")
    assert not host.drops("3.0.0.1")
    assert geodrop.good("verify", "--full").code == 0
    running.end(signal.SIGKILL)
    with daemon(geodrop) as next_one:
        assert "rolled back: the older policy stays" in next_one.log
        assert host.drops("2.0.0.1")
        geodrop.good("reload")
        assert host.drops("3.0.0.1")
        assert geodrop.good("status", "--json").json["undone"] is None


def test_a_daemon_that_starts_in_a_window(host: Host, running: Daemon) -> None:
    """It takes both generations over as they are, and reloads nothing until the load is confirmed."""
    geodrop = host.geodrop
    host.deny("RU")
    geodrop.good("reload", "--confirm-within", "1h")
    before = geodrop.good("status", "--json").json["confirm"]
    running.end(signal.SIGKILL)
    host.deny("US")
    with daemon(geodrop) as next_one:
        assert "a load waits to be confirmed" in next_one.log
        status = geodrop.good("status", "--json").json
        assert status["confirm"]["generation"] == before["generation"]
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        until(lambda: "geodrop" in host.table() and host.drops("2.0.0.1"))
        assert geodrop.good("verify", "--full").code == 0
        geodrop.good("confirm")
        assert host.drops("2.0.0.1")
