# SPDX-License-Identifier: Apache-2.0
"""Exemptions with a daemon: asked for through its socket, kept against other programs, over a restart and a flush."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.daemons import Daemon, daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.daemon.conftest import Host

SET = ("inet", "geodrop", "exempt-ipv4")


def until(true: Callable[[], bool], running: Daemon) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, running.log
        time.sleep(0.05)


def test_kept_against_other_programs(host: Host) -> None:
    """A flush is repaired with the rest of the time, an additional element is removed; both are told as repairs."""
    geodrop = host.geodrop
    with daemon(geodrop) as running:
        said = geodrop.good("exempt", "1.0.0.1", "--for", "2h", "--why", "CASE-7").out
        assert said.startswith("1.0.0.1 passes api until ")
        assert (host.drops("1.0.0.1"), host.drops("1.0.0.2")) == (False, True)
        host.netns.run("nft", "flush", "set", *SET)
        until(lambda: "1.0.0.1" in host.netns.run("nft", "list", "set", *SET), running)
        host.netns.run("nft", "add", "element", *SET, "{ 1.0.0.2 timeout 1h }")
        until(lambda: "1.0.0.2" not in host.netns.run("nft", "list", "set", *SET), running)
        host.netns.run("nft", "flush", "ruleset")
        until(lambda: "1.0.0.1" in host.table(), running)
        until(lambda: geodrop.run("status", "--json").json["repaired"] >= 3, running)
        status = geodrop.run("status", "--json").json
        assert status["healthy"], status["problems"]
        [one] = status["exemptions"]
        assert (one["why"], one["in_force"], 7_000 < one["seconds"] <= 7_201) == ("CASE-7", True, True)


def test_kept_over_a_restart_and_ended(host: Host) -> None:
    """What a daemon put in force another one ends, by its socket; a reload in between changes nothing."""
    geodrop = host.geodrop
    with daemon(geodrop) as running:
        geodrop.good("exempt", "1.0.0.1", "--for", "2h")
        host.deny("CN", "RU")
        geodrop.good("reload")
        assert not host.drops("1.0.0.1")
        running.end()
    assert not host.drops("1.0.0.1")
    with daemon(geodrop):
        assert [one["in_force"] for one in geodrop.good("exempt", "--json").json_lines] == [True]
        geodrop.good("exempt", "1.0.0.1", "--end", "--why", "done")
        assert host.drops("1.0.0.1")
        assert geodrop.good("exempt").out == "nobody is exempt\n"
        newest = geodrop.good("history", "--json").json_lines[0]
        assert (newest["origin"], newest["why"]) == ("exempt", "done")
        assert geodrop.run("exempt", "1.0.0.0/15", "--for", "2h").code == 2
        assert geodrop.run("exempt", "1.0.0.1", "--end").code == 65
