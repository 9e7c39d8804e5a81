# SPDX-License-Identifier: Apache-2.0
"""A quick reload makes an overlay; a while later the daemon compacts it without a request."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

from tests.kernel.daemon.conftest import POLICY
from tests.support.daemons import daemon
from tests.support.databases import country, write_database
from tests.support.synthetic import joined_ruleset

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host
    from tests.support.daemons import Daemon

PATIENCE = 20.0
CN = {f"1.{high}.{low}.0/24": country("CN") for high in range(10) for low in range(0, 250, 2)}


def generations(host: Host) -> set[str]:
    """Return the generations that have chains."""
    words = host.netns.run("nft", "-t", "list", "table", "inet", "geodrop").split()
    names = [words[at + 1] for at, word in enumerate(words) if word == "chain"]
    return {re.split("[-.]", name)[0] for name in names if name.startswith("g")}


def whole(host: Host) -> set[str]:
    """Return the generations once only one is left."""
    deadline = time.monotonic() + PATIENCE
    while len(found := generations(host)) > 1:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_a_quick_reload_is_compacted(host: Host, running: Daemon) -> None:
    """Overlay and whole generation give the same verdicts, verify as right, and are both in the history."""
    write_database(host.folder / "country.mmdb", {**CN, "2.0.0.0/24": country("RU"), "3.0.0.0/24": country("US")})
    host.geodrop.good("reload")
    for regions, dropped in ((("CN", "RU"), True), (("CN",), False)):
        host.deny(*regions)
        host.geodrop.good("reload")
        assert len(generations(host)) == 2
        for _ in range(2):
            assert [host.drops(address) for address in ("1.0.0.1", "2.0.0.1", "3.0.0.1")] == [True, dropped, False]
            assert host.geodrop.good("verify", "--full", "--json").json["differences"] == []
            assert host.geodrop.good("status", "--json").json["repaired"] == 0
            whole(host)
    assert whole(host) == {"g6"}
    history = [entry["origin"] for entry in host.geodrop.good("history", "--json").json_lines]
    assert history == ["compact", "reload", "compact", "reload", "reload", "reload"]
    assert "the overlay is compacted into whole maps" in running.log


def test_regions_are_told_apart_after_every_change(host: Host) -> None:
    """After the start, a pause, a resume and a repair, regions are split in the background without a new generation."""
    policy = POLICY.format(deny="").replace("default: allow", "default: deny").replace("deny: []", "allow: [US]")
    file = host.folder / "fleet.ruleset"
    file.write_bytes(joined_ruleset(policy, host.folder / "country.mmdb"))
    host.agent("{ruleset: fleet.ruleset}")

    def told_apart() -> int:
        deadline = time.monotonic() + PATIENCE
        while (status := host.geodrop.run("status", "--json").json)["services"][0]["counted_as_other"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert host.geodrop.good("verify", "--full", "--json").json["differences"] == []
        return int(status["repaired"])

    with daemon(host.geodrop) as running:
        assert told_apart() == 0
        for verb in ("pause", "resume"):
            host.geodrop.good(verb)
            assert told_apart() == 0
        host.netns.nft("flush ruleset")
        deadline = time.monotonic() + PATIENCE
        while told_apart() == 0:
            assert time.monotonic() < deadline
        assert generations(host) == {"g4"}
        assert "split by region" in running.log


def test_one_that_a_dead_daemon_has_left(host: Host, running: Daemon) -> None:
    """The next daemon compacts an overlay that was left; a rollback is quick too."""
    write_database(host.folder / "country.mmdb", {**CN, "2.0.0.0/24": country("RU"), "3.0.0.0/24": country("US")})
    host.geodrop.good("reload")
    host.deny("CN", "RU")
    host.geodrop.good("reload")
    host.geodrop.good("rollback")
    running.end(signal.SIGKILL)
    assert generations(host) == {"g2", "g4"}
    with daemon(host.geodrop):
        assert whole(host) == {"g5"}
    assert not host.drops("2.0.0.1")
