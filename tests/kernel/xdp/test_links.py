# SPDX-License-Identifier: Apache-2.0
"""Attaching: kinds of interfaces, what they accept, and programs that are attached already."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux import libbpf
from geodrop.linux.rtnl import read_links
from geodrop.xdp import links
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, PacketSender, join, namespaces
from tests.support.traffic import Traffic
from tests.support.worlds import POLICY_CN, POLICY_US, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import Namespace

JUMBO = 9000


class Host:
    """A judged namespace with eth0 and eth1, joined to far0 and far1 in another."""

    def __init__(self, far: Namespace, netns: Namespace, engine: XdpEngine, rulesets: list[Ruleset]) -> None:
        self.netns, self.engine, self.rulesets = netns, engine, rulesets
        self.wires = [(End(far, f"far{number}"), End(netns, f"eth{number}")) for number in (0, 1)]
        for pair in self.wires:
            join(*pair)

    def attached(self) -> dict[str, str | None]:
        """Return the attach mode of each interface."""
        return {one.name: one.attach for one in self.engine.observe().interfaces}

    def jumbo(self) -> None:
        """Let the first wire carry jumbo frames."""
        for end in self.wires[0]:
            end.namespace.run("ip", "link", "set", end.name, "mtu", str(JUMBO))

    def send(self, source: str, count: int, payload: bytes = b"") -> None:
        """Send packets to port 443 on eth0."""
        with PacketSender(*self.wires[0]) as sender:
            sender.send([encode(Packet(source, dport=443, payload=payload), at) for at in range(count)])
        time.sleep(0.1)

    def counted(self) -> tuple[int, int]:
        """Return the packets dropped and accepted."""
        counts = self.engine.counters()
        return sum(count.dropped[0] for count in counts), sum(count.accepted[0] for count in counts)

    def programs(self, name: str) -> object:
        """Return what `ip` shows of an interface's programs, to the byte."""
        return json.loads(self.netns.run("ip", "--json", "--details", "link", "show", name))[0].get("xdp")


@pytest.fixture
def host(kernel: None, tmp_path: Path) -> Iterator[Host]:
    """Yield a new host; the test runs inside its namespace."""
    del kernel
    rulesets = [compiled(policy, tmp_path) for policy in (POLICY_CN, POLICY_US)]
    with namespaces("far", "host") as [far, netns], own_pins() as pins, netns.entered():
        made = Host(far, netns, XdpEngine(pins=pins), rulesets)
        yield made
        made.engine.remove()


def test_several_interfaces_change_together(host: Host) -> None:
    """One control word switches all interfaces; an interface that is left out is detached."""
    host.engine.apply(host.rulesets[0], 1, ["eth*"])
    assert host.attached() == {"eth0": "native", "eth1": "native"}
    host.engine.apply(host.rulesets[1], 2, ["eth1"])
    assert host.attached() == {"eth1": "native"}
    assert host.programs("eth0") is None
    assert host.engine.verify(host.rulesets[1]) == []


def test_a_renamed_interface_stays_judged(host: Host) -> None:
    """A link is pinned by the interface's index, so the next load finds it under the new name."""
    host.engine.apply(host.rulesets[0], 1, ["eth0"])
    program = host.programs("eth0")
    host.netns.run("ip", "link", "set", "eth0", "down")
    host.netns.run("ip", "link", "set", "eth0", "name", "wan0")
    assert host.attached() == {"wan0": "native"}
    host.engine.apply(host.rulesets[1], 2, ["wan0"])
    assert host.programs("wan0") == program
    assert host.engine.verify(host.rulesets[1]) == []


def test_an_interface_that_comes_back_is_attached_again(host: Host) -> None:
    """The link of the removed interface is defunct; it is replaced, even if the new one has the same number."""
    host.engine.apply(host.rulesets[0], 1, ["eth0"])
    [number] = host.engine.pins.link_indexes()
    host.netns.run("ip", "link", "delete", "eth0")
    assert host.attached() == {}
    host.netns.run("ip", "link", "add", "eth0", "index", str(number), "type", "veth", "peer", "name", "other")
    assert host.engine.pins.link_indexes() == [number]
    assert host.attached() == {}
    assert [one.found for one in host.engine.verify(host.rulesets[0])] == ["detached by another program"]
    host.engine.apply(host.rulesets[0], 2, ["eth0"])
    assert host.attached() == {"eth0": "native"}
    assert host.engine.verify(host.rulesets[0]) == []


def test_jumbo_frames_are_judged_on_the_native_hook(host: Host) -> None:
    """Frames in several buffers (xdp.frags) get the verdicts of small ones."""
    host.jumbo()
    host.engine.apply(host.rulesets[0], 1, ["eth0"])
    assert host.attached() == {"eth0": "native"}
    for source in ("1.1.1.1", "2400::1"):
        host.send(source, 5, bytes(JUMBO - 100))
    assert host.counted() == (10, 0)
    for source in ("2.2.2.2", "2600::1", "5.5.5.5"):
        host.send(source, 5, bytes(JUMBO - 100))
    assert host.counted() == (10, 15)


def test_an_mtu_too_large_for_native_takes_generic(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without frags, as before Linux 5.18, the driver refuses the program; the message names the MTU."""
    host.jumbo()
    monkeypatch.setattr(libbpf, "HAS_FRAGS", 0)
    native = XdpEngine(pins=host.engine.pins, attach=("native",))
    with pytest.raises(UnavailableError, match=f"eth0, MTU {JUMBO}, takes no XDP program.*native: ") as caught:
        native.apply(host.rulesets[0], 1, ["eth0"])
    assert "lower the MTU" in caught.value.next_step
    assert host.engine.pins.sets() == []
    host.engine.apply(host.rulesets[0], 1, ["eth0"])
    assert host.attached() == {"eth0": "generic"}
    host.send("1.1.1.1", 5, bytes(JUMBO - 100))
    host.send("2.2.2.2", 5, bytes(JUMBO - 100))
    assert host.counted() == (5, 5)


@pytest.mark.parametrize("how", ["link", "xdpdrv", "xdpgeneric"])
def test_a_foreign_program_is_left_as_it_is(host: Host, how: str) -> None:
    """A program attached by link or by netlink, native or generic, is named, not touched, and not taken for ours."""
    with own_pins() as others:
        theirs = XdpEngine(pins=others)
        theirs.apply(host.rulesets[0], 1, ["eth1" if how != "link" else "eth0"])
        if how != "link":
            program = str(others.sets()[0] / "geodrop")
            host.netns.run("ip", "link", "set", "eth0", how, "pinned", program)
        before = host.programs("eth0")
        number = links.program_on(2)
        assert before is not None
        assert number
        with host.netns.entered():
            assert [link.program for link in read_links() if link.index == 2] == [number], "rtnetlink says the same"
        with pytest.raises(UnavailableError, match=rf"eth0 has an XDP program .* \(number {number}\)"):
            host.engine.apply(host.rulesets[1], 1, ["eth0"])
        assert host.engine.pins.sets() == []
        assert host.engine.pins.link_indexes() == []
        host.engine.remove()
        assert host.programs("eth0") == before
        if how != "link":
            host.netns.run("ip", "link", "set", "eth0", how, "off")
        theirs.remove()


@pytest.mark.parametrize("what", ["program", "layout"])
def test_pins_of_another_version_are_replaced_under_traffic(host: Host, what: str) -> None:
    """A set of another version is not reused: a new one is loaded, links move, counters are kept, every packet is
    judged.
    """
    with Traffic(*host.wires[0], ["1.1.1.1", "2.2.2.2"]) as traffic:
        host.engine.apply(host.rulesets[0], 1, ["eth0"])
        before = traffic.passed()["1.1.1.1"]
        for generation in range(2, 6):
            [old] = host.engine.pins.sets()
            number, version = old.name.removeprefix("set-").split("-")
            other = f"{version[:2]}0123456789ab" if what == "program" else f"00{version[2:]}"
            old.rename(old.with_name(f"set-{number}-{other}"))
            found = host.engine.observe()
            assert (found.generation, found.digest == "") == (generation - 1, what == "layout")
            if what == "layout":
                assert [one.where for one in host.engine.verify(host.rulesets[0])] == ["xdp program"]
            counted = host.counted()
            host.engine.apply(host.rulesets[generation % 2], generation, ["eth0"])
            [new] = host.engine.pins.sets()
            assert new.name == f"set-{int(number) + 1}-{version}"
            assert all(later > earlier for later, earlier in zip(host.counted(), counted, strict=True))
        after = traffic.passed()["1.1.1.1"]
    assert after == before
    assert traffic.tallies["2.2.2.2"].passed > 0.99 * traffic.tallies["2.2.2.2"].sent


def test_an_interface_that_goes_while_it_is_looked_at(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that ended with its interface is no difference; a link that another program detached is one."""
    host.engine.apply(host.rulesets[0], 1, ["eth*"])
    seen = links.observe

    def going(pins: Pins) -> list[links.PinnedLink]:
        if "eth1" in [name for _, name in socket.if_nameindex()]:
            host.netns.run("ip", "link", "delete", "eth1")
        return seen(pins)

    monkeypatch.setattr(links, "observe", going)
    assert host.engine.verify(host.rulesets[0], full=False) == []
    monkeypatch.undo()
    libbpf.detach_link(libbpf.get(str(host.engine.pins.links / str(socket.if_nametoindex("eth0")))))
    [difference] = host.engine.verify(host.rulesets[0], full=False)
    assert (difference.where, difference.found) == ("interface eth0", "detached by another program")
