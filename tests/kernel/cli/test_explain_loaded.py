# SPDX-License-Identifier: Apache-2.0
"""`explain` of what is loaded, without a daemon: the kernel's tables, its counters, and the history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, namespaces

if TYPE_CHECKING:
    from tests.kernel.cli.conftest import Host

PACKET = encode(Packet(source="1.0.0.1", dest="192.0.2.1", dport=443), 1)


def now() -> str:
    """Return the time as `--at` takes it, to the microsecond."""
    return datetime.now(UTC).isoformat()


def test_the_kernel_is_asked(host: Host) -> None:
    """Without files, explain answers from the loaded ruleset and adds the verdict of the kernel's own tables."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    answers = host.geodrop.good("explain", "--json", "1.0.0.1", "2.0.0.1", "2002:100:1::").json_lines
    assert [(answer["verdict"], answer["kernel"]["verdict"]) for answer in answers] == [
        ("drop", "drop"),
        ("accept", "accept"),
        ("drop", "drop"),
    ]
    assert "1.0.0.0-1.0.0.255" in answers[0]["kernel"]["where"]


def test_the_kernel_is_asked_about_a_region(host: Host) -> None:
    """A country is answered from what is loaded, and the kernel agrees about an address of each part."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    lines = host.geodrop.good("explain", "CN").out.splitlines()
    assert lines[0] == (
        "DROP    api denies CN (CN.yaml:7): 256 IPv4 addresses (all of CN), 16,777,216 IPv6 /48s; "
        "to let it in: deny without CN"
    )
    assert lines[-1] == "kernel  agrees (generation 1)"
    [answer] = host.geodrop.good("explain", "--json", "CN").json_lines
    assert (answer["kernel"]["verdict"], answer["kernel"]["would_drop"]) == ("drop", True)


def test_since_when_and_how_many_packets(host: Host) -> None:
    """The generation that began the verdict, and the packets from that country which the kernel has dropped."""
    with namespaces("net") as [net]:
        outside, inside = End(net, "net0", ["192.0.2.2/24"]), End(host.netns, "eth0", ["192.0.2.1/24"])
        join(outside, inside)
        host.geodrop.good("load", "--interface", "eth0", host.cn)
        with PacketSender(outside, inside) as sender:
            sender.send([PACKET] * 10)
        host.geodrop.good("load", "--interface", "eth0", "--engine", "nftables", host.cn)
        host.geodrop.good("pause")
        host.geodrop.good("resume")
        _, _, since, count, kernel = host.geodrop.good("explain", "1.0.0.1").out.splitlines()
        assert since.endswith(", generation 3")
        assert count == "count   CN to api: 10 packets dropped"
        assert kernel == "kernel  agrees (generation 3)"
        first, second = host.geodrop.good("explain", "--json", "1.0.0.1", "2.0.0.1").json_lines
        assert (first["since"]["generation"], second["since"]["generation"]) == (3, 1)
        assert [one["dropped"]["packets"] for one in first["counters"]] == [10]
        assert second["counters"] == []


def test_at_a_time_that_has_passed(host: Host) -> None:
    """The generation of that time answers, with its pause; the kernel is asked only if it still is in force."""
    geodrop, load = host.geodrop, ("load", "--interface", "lo")
    before = now()
    geodrop.good(*load, host.cn)
    cn = now()
    geodrop.good("pause")
    paused = now()
    geodrop.good("resume")
    geodrop.good("unload")
    nothing = now()
    geodrop.good(*load, host.ru)
    ru = now()

    def at(time: str) -> tuple[str, int, bool]:
        [answer] = geodrop.good("explain", "--at", time, "--json", "1.0.0.1").json_lines
        return answer["verdict"], answer["in_force"]["generation"], "kernel" in answer

    assert [at(time) for time in (cn, paused, ru)] == [("drop", 1, False), ("accept", 2, False), ("accept", 4, True)]
    text = geodrop.good("explain", "--at", cn, "CN").out
    assert "\nthen    generation 1 (ruleset " in text
    done = geodrop.run("explain", "--at", nothing, "1.0.0.1")
    assert (done.code, "every packet passed" in done.err, "(unload)" in done.err) == (3, True, True)
    done = geodrop.run("explain", "--at", before, "1.0.0.1")
    assert (done.code, "the history begins at" in done.err) == (65, True)
    for kept in (host.geodrop.folder / "state" / "rulesets").iterdir():
        kept.unlink()
    done = geodrop.run("explain", "--at", cn, "1.0.0.1")
    assert (done.code, "generation 1 was in force" in done.err, "`keep` in agent.yaml" in done.err) == (65, True, True)


def test_nothing_loaded(host: Host) -> None:
    """With nothing in force explain ends with 3, and the next step."""
    done = host.geodrop.run("explain", "1.0.0.1")
    assert done.code == 3
    assert "geodrop load" in done.err
