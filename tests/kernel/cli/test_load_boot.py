# SPDX-License-Identifier: Apache-2.0
"""`load --boot` in a namespace to which interfaces come only afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, namespaces
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.cli.conftest import Host

TARGET = 1.0
"""Seconds from the start of the process until the ruleset is in force; on a busy machine only printed."""


@pytest.fixture
def outside(kernel: None) -> Iterator[End]:
    """Return the sender of packets; nothing connects it to the host yet."""
    del kernel
    with namespaces("net") as [net]:
        yield End(net, "net0", ["192.0.2.2/24"])


def reboot(host: Host) -> None:
    """Forget everything in the kernel."""
    host.netns.run("nft", "flush", "ruleset")


def configure(host: Host, more: str) -> None:
    """Write agent.yaml."""
    config: Path = host.geodrop.folder / "agent.yaml"
    config.write_text(f"state: {host.geodrop.folder / 'state'}\nsocket: {host.geodrop.folder / 'control.sock'}\n{more}")


def test_in_force_before_any_interface(host: Host, outside: End, capsys: pytest.CaptureFixture[str]) -> None:
    """No packet from a denied region gets through an interface that comes later; nft lists the rule waiting for it."""
    configure(host, 'interfaces: ["eth*"]\n')
    host.geodrop.good("load", host.cn)
    reboot(host)
    started = time.time()
    said = host.geodrop.good("load", "--boot").out
    took = time.time() - started
    assert said.startswith("generation 2: ruleset ")
    assert said.endswith(" in force on eth*\n")
    stamp = host.netns.run("nft", "list", "chain", "inet", "geodrop", "g2")
    assert "geodrop generation 2 digest " in stamp
    with capsys.disabled():
        print(f"\nload --boot: in force and answered {took:.2f} s after the start of its process (target {TARGET} s)")
    inside = End(host.netns, "eth0", ["192.0.2.1/24"])
    join(outside, inside)
    with Traffic(outside, inside, ["1.0.0.1", "3.0.0.1", "2400::1"]) as traffic:
        time.sleep(0.5)
    for source, tally in traffic.tallies.items():
        assert tally.reached == tally.sent > 0
        assert tally.passed == (tally.reached if source == "3.0.0.1" else 0)
    assert host.geodrop.good("status", "--json").json["healthy"] is True


def test_agent_yaml_with_a_mistake(host: Host, outside: End) -> None:
    """With one unknown key in agent.yaml, the last good ruleset is in force where the last load judged.

    The interfaces in the damaged file are not used. 78, a warning, a problem and a line of the history say what to
    correct.
    """
    configure(host, 'interfaces: ["eth*"]\nengine: nftables\n')
    host.geodrop.good("load", host.cn)
    configure(host, 'interfaces: ["wan*"]\nsokket: /s\n')
    reboot(host)
    done = host.geodrop.run("load", "--boot")
    assert (done.code, done.out.endswith(" in force on eth*\n")) == (78, True)
    assert 'agent.yaml:4:1: error: "sokket" is not a key of agent.yaml' in done.err
    inside = End(host.netns, "eth0", ["192.0.2.1/24"])
    join(outside, inside)
    with PacketSender(outside, inside) as sender:
        sender.send([encode(Packet(source="1.0.0.1", dest="192.0.2.1", dport=443), 1)] * 5)
    counts = host.geodrop.run("counters", "--json").json_lines
    assert sum(one["dropped"]["packets"] for one in counts if "dropped" in one) == 5
    status = host.geodrop.run("status", "--json")
    assert (status.code, status.json["state"]) == (1, "enforcing, but degraded")
    assert "sokket" in status.json["problems"][0]
    assert "sokket" in host.geodrop.good("history", "--json").json_lines[0]["change"]
    configure(host, 'interfaces: ["eth*"]\n')
    assert host.geodrop.good("load", "--boot").err == ""
    assert host.geodrop.good("status").code == 0


def test_left_out_interfaces(host: Host, outside: End) -> None:
    """Without interfaces in agent.yaml all are judged except virtual kinds: a veth is not, a macvlan on it is."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    reboot(host)
    assert host.geodrop.good("load", "--boot").out.endswith(" in force on *\n")
    inside = End(host.netns, "eth0", ["192.0.2.1/24"])
    join(outside, inside)
    host.netns.run("ip", "link", "add", "link", "eth0", "name", "lan0", "type", "macvlan")
    host.netns.run("ip", "link", "set", "lan0", "up")
    packet = encode(Packet(source="1.0.0.1", dest="192.0.2.1", dport=443), 1)
    for end, expected in ((inside, 0), (End(host.netns, "lan0"), 5)):
        with PacketSender(outside, end) as sender:
            sender.send([packet] * 5)
        counts = host.geodrop.good("counters", "--json").json_lines
        assert sum(one["dropped"]["packets"] for one in counts if "dropped" in one) == expected
    assert host.geodrop.good("verify", "--full").code == 0


def test_first_boot_open(host: Host) -> None:
    """Without a usable ruleset: a loud warning, nothing in force, and the boot goes on.

    `status` and `history` say why.
    """
    done = host.geodrop.good("load", "--boot")
    assert "warning" in done.err
    assert "first_boot: open" in done.err
    status = host.geodrop.run("status", "--json")
    assert (status.code, status.json["last_failure"]["origin"]) == (3, "boot")
    assert host.netns.run("nft", "list", "ruleset") == ""


def test_first_boot_closed(host: Host, outside: End) -> None:
    """Only port 22 and special addresses get in; answers to connections of the host itself pass."""
    configure(host, 'interfaces: ["eth*"]\nfirst_boot: closed\n')
    assert "first_boot: closed" in host.geodrop.good("load", "--boot").out
    inside = End(host.netns, "eth0", ["192.0.2.1/24"])
    join(outside, inside)
    allowed = [
        Packet(source="8.8.8.8", dport=22),
        Packet(source="8.8.8.8", sport=443, dport=40_000, flags="SA"),
        Packet(source="8.8.8.8", protocol=17, sport=53, dport=40_000),
        Packet(source="10.0.0.1", dport=443),
        Packet(source="fd00::1", dport=443),
    ]
    refused = [
        Packet(source="8.8.8.8", dport=443),
        Packet(source="2600::1", dport=443),
        Packet(source="8.8.8.8", protocol=17, dport=443),
    ]
    with PacketSender(outside, inside) as sender:
        sender.send([encode(packet, number) for number, packet in enumerate([*allowed, *refused], start=1)])
    counts = host.geodrop.good("counters", "--json").json_lines
    assert sum(one["dropped"]["packets"] for one in counts if "dropped" in one) == len(refused)
    # The UDP answer does not count here: no service takes its port.
    assert sum(one[what]["packets"] for one in counts for what in ("accepted", "never_drop") if what in one) == 4
    status = host.geodrop.run("status", "--json")
    assert (status.code, status.json["enforcing"]) == (1, True)
    assert "no policy was ever loaded" in status.json["problems"][0]
    assert host.geodrop.good("load", host.cn).out.startswith("generation 1 -> 2: ")
    assert host.geodrop.good("status").code == 0


def test_unload_pause_and_usage(host: Host) -> None:
    """What was asked for before the reboot still applies."""
    assert host.geodrop.run("load", "--boot", host.cn).code == 2
    assert host.geodrop.run("load").code == 2
    host.geodrop.good("load", "--interface", "lo", host.cn)
    host.geodrop.good("pause")
    reboot(host)
    host.geodrop.good("load", "--boot")
    # `*` does not match loopback, so no present interface is judged and status is 3.
    assert host.geodrop.run("status", "--json").json["paused"] is True
    assert host.geodrop.run("status").code == 3
    assert host.geodrop.good("explain", "--json", "1.0.0.1").json["kernel"]["verdict"] == "accept"
    host.geodrop.good("unload")
    assert "unloaded on request" in host.geodrop.good("load", "--boot").out
    assert host.netns.run("nft", "list", "ruleset") == ""
