# SPDX-License-Identifier: Apache-2.0
"""A pause through the real command line, with packets before, during and after it."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, namespaces
from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.cli.conftest import Host

LOAD = ("load", "--interface", "eth0")
PACKET = encode(Packet(source="1.0.0.1", dest="192.0.2.1", dport=443), 1)


@pytest.fixture
def send(host: Host) -> Iterator[Callable[[], tuple[int, int]]]:
    """Send ten packets from China; return how many more were dropped, and how many would have been."""
    with namespaces("net") as [net]:
        outside, inside = End(net, "net0", ["192.0.2.2/24"]), End(host.netns, "eth0", ["192.0.2.1/24"])
        join(outside, inside)

        def totals() -> tuple[int, int]:
            counts = [one for one in host.geodrop.good("counters", "--json").json_lines if "dropped" in one]
            dropped, would = ([one[what]["packets"] for one in counts] for what in ("dropped", "would_drop"))
            return sum(dropped), sum(would)

        with PacketSender(outside, inside) as sender:

            def ten() -> tuple[int, int]:
                before = totals()
                sender.send([PACKET] * 10)
                after = totals()
                return after[0] - before[0], after[1] - before[1]

            yield ten


def test_pause_and_resume(host: Host, send: Callable[[], tuple[int, int]]) -> None:
    """During a pause packets pass and count as would-be drops, also after a load; after `resume` they are dropped."""
    geodrop = host.geodrop
    geodrop.good(*LOAD, host.cn)
    assert send() == (10, 0)
    said = geodrop.good("pause", "--why", "checkout is down").out
    assert said == "generation 1 -> 2: paused until resume: nothing is dropped, all is counted\n"
    assert send() == (0, 10)
    status = geodrop.run("status", "--json").json
    assert (status["paused"], status["paused_until"], status["paused_why"]) == (True, None, "checkout is down")
    assert [(one["mode"], one["effective"], one["starts"]) for one in status["services"]] == [
        ("enforce", "monitor", None)
    ]
    assert status["healthy"]
    assert geodrop.good("verify", "--full").code == 0
    assert geodrop.good("explain", "--json", "1.0.0.1").json["verdict"] == "accept"
    geodrop.good(*LOAD, host.ru)
    assert "nothing to do" in geodrop.good(*LOAD, host.ru).out
    geodrop.good("rollback")
    assert send() == (0, 10)
    assert "resumed: services drop again" in geodrop.good("resume").out
    assert send() == (10, 0)
    assert geodrop.run("status", "--json").json["paused"] is False


def test_a_pause_ends_by_itself(host: Host, send: Callable[[], tuple[int, int]]) -> None:
    """The kernel's clock ends the pause: no process runs, and what is in force stays right for `verify` and a load."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good("pause", "--for", "8s")
    until = host.geodrop.run("status", "--json").json
    assert until["paused_until"] is not None
    paused = send()
    if time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) < until["paused_until"]:
        assert paused == (0, 10)
    while time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) < until["paused_until"]:
        time.sleep(0.1)
    assert send() == (10, 0)
    status = host.geodrop.run("status", "--json").json
    assert (status["paused"], status["healthy"], status["services"][0]["effective"]) == (False, True, "enforce")
    assert "nothing to do" in host.geodrop.good(*LOAD, host.cn).out
    host.geodrop.good(*LOAD, host.ru)
    assert host.geodrop.good("verify", "--full").code == 0


@pytest.mark.parametrize("wrong", [30 * 86_400, -50 * 365 * 86_400], ids=["ahead", "behind"])
def test_a_boot_by_a_wrong_clock(host: Host, send: Callable[[], tuple[int, int]], wrong: int) -> None:
    """With a clock a month ahead, or at 1970, until the network sets it right, the pause still holds.

    A service whose start is long past drops. The machine's own clock is left alone: the command is told another time.
    """
    geodrop = host.geodrop
    script = f"import sys, time; right = time.time; time.time = lambda: right() + {wrong}; "
    script += "from geodrop.cli.main import main; sys.exit(main(sys.argv[1:]))"

    def boot() -> None:
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        command = geodrop.command("load", "--boot")
        at = command.index("-m")
        subprocess.run([*command[:at], "-c", script, *command[at + 2 :]], check=True, capture_output=True)

    geodrop.good(*LOAD, host.cn)
    geodrop.good("pause", "--for", "2h")
    config = geodrop.folder / "agent.yaml"
    config.write_text(config.read_text() + "interfaces: [eth0]\n")
    boot()
    assert send() == (0, 10)
    status = geodrop.run("status", "--json").json
    assert (status["state"], status["problems"]) == ("paused", [])
    assert geodrop.good("verify", "--full").code == 0
    geodrop.good("resume")
    policy = POLICY_CN + "    starts: 2024-01-01T00:00:00Z\n"
    started = geodrop.compile(policy, geodrop.folder / "country.mmdb", name="started")
    geodrop.good(*LOAD, str(started))
    boot()
    assert send() == (10, 0)
    assert geodrop.run("status", "--json").json["state"] == "enforcing"


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_the_kept_ruleset_is_damaged(host: Host, send: Callable[[], tuple[int, int]], how: str) -> None:
    """A pause needs that ruleset: 65, and the command that the message names stops dropping at once.

    So does the end of a pause. A rollback does not need it.
    """
    geodrop = host.geodrop

    def damage() -> None:
        digest = geodrop.run("status", "--json").json["digest"]
        path = geodrop.folder / "state" / "rulesets" / f"{digest}.ruleset"
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])

    geodrop.good(*LOAD, host.ru)
    geodrop.good(*LOAD, host.cn)
    damage()
    refused = geodrop.run("pause")
    assert (refused.code, send()) == (65, (10, 0))
    assert refused.err.rstrip().endswith("to drop nothing at once: geodrop unload")
    geodrop.good("unload")
    assert "geodrop" not in host.netns.run("nft", "list", "ruleset")
    geodrop.good(*LOAD, host.cn)
    geodrop.good("pause")
    damage()
    refused = geodrop.run("resume")
    assert (refused.code, send()) == (65, (0, 10))
    assert refused.err.rstrip().endswith("geodrop reload, then geodrop resume")
    geodrop.good(*LOAD, host.cn)
    geodrop.good("resume")
    assert send() == (10, 0)
    damage()
    assert "back to ruleset" in geodrop.good("rollback").out


def test_nothing_to_pause(host: Host) -> None:
    """3; and a text that is no duration is a usage error."""
    assert host.geodrop.run("pause").code == 3
    assert host.geodrop.run("pause", "--for", "soon").code == 2
