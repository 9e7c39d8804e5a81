# SPDX-License-Identifier: Apache-2.0
"""Both engines on one host: one of them judges each interface, even while it moves; every packet counts once."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane import transaction
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.coverage import Coverage, read_coverage
from geodrop.dataplane.placement import TO_COME
from geodrop.dataplane.transaction import IPSEC
from geodrop.engine.api import Interface
from geodrop.engine.interfaces import select
from geodrop.errors import UnavailableError
from geodrop.nftables.engine import NftablesEngine
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, PacketSender, join, mac_address, namespaces
from tests.support.traffic import Traffic
from tests.support.worlds import POLICY_CN, POLICY_US, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.engine.api import ApplyReport
    from geodrop.ruleset.model import Ruleset
    from tests.support.namespaces import Namespace


class Host:
    """A judged host with eth0 and eth1, each joined to a sender. Both rulesets drop CN; only the second drops RU."""

    def __init__(self, sender: Namespace, netns: Namespace, engines: BothEngines, rulesets: list[Ruleset]) -> None:
        self.netns, self.engines, self.rulesets = netns, engines, rulesets
        self.wires = [(End(sender, f"far{number}"), End(netns, f"eth{number}")) for number in (0, 1)]
        for pair in self.wires:
            join(*pair)

    def load(self, engine: str, *names: str, generation: int = 1) -> ApplyReport:
        """Change the kernel as a load does; even generations have the second ruleset."""
        return transaction.apply(self.engines, self.ruleset(generation), generation, select(names), engine)

    def placed_first(self) -> dict[str, str]:
        """Return the engine of each interface; xdp if both have it, since nftables then only waits for that name."""
        return {one.name: one.engine for one in reversed(self.engines.observe().interfaces)}

    def coverage(self, *names: str) -> Coverage:
        """Return the coverage that the status has for these names."""
        return read_coverage(names, self.engines, self.engines.observe().interfaces)

    def address(self, number: int) -> str:
        """Return the hardware address of an interface."""
        return mac_address(self.wires[number][1]).hex(":")

    def ruleset(self, generation: int) -> Ruleset:
        """Return the ruleset of a generation."""
        return self.rulesets[generation % 2 - 1]

    def placed(self) -> dict[str, str]:
        """Return the engine of each interface."""
        return {interface.name: interface.engine for interface in self.engines.observe().interfaces}

    def send(self, number: int, source: str, count: int) -> None:
        """Send packets to port 443 on one interface."""
        with PacketSender(*self.wires[number]) as sender:
            sender.send([encode(Packet(source, dport=443), at) for at in range(count)])
        time.sleep(0.05)

    def counted(self) -> Counter[str]:
        """Return packets by what became of them, for all services and families."""
        found: Counter[str] = Counter()
        for count in self.engines.counters():
            found[f"dropped {count.label}"] += count.dropped[0]
            found["accepted"] += count.accepted[0]
        return +found


@pytest.fixture
def host(kernel: None, tmp_path: Path) -> Iterator[Host]:
    """Yield a host inside the judged namespace, with its own pins."""
    del kernel
    rulesets = [compiled(policy, tmp_path) for policy in (POLICY_CN, POLICY_US)]
    with namespaces("sender", "host") as [sender, netns], own_pins() as pins, netns.entered():
        made = Host(sender, netns, BothEngines(NftablesEngine(), XdpEngine(pins=pins)), rulesets)
        yield made
        made.engines.remove()


@contextlib.contextmanager
def foreign_program(host: Host, name: str) -> Iterator[None]:
    """Attach a foreign program to an interface."""
    with own_pins() as others:
        theirs = XdpEngine(pins=others)
        theirs.apply(host.rulesets[0], 1, [name])
        yield
        theirs.remove()


def test_auto_falls_back_an_interface_at_a_time(host: Host) -> None:
    """Xdp judges where it can, nftables where xdp is refused, with the reason; a named xdp then changes nothing."""
    with foreign_program(host, "eth1"):
        host.load("auto", "eth0", "eth1")
        on_xdp, guard, on_nftables = host.engines.observe().interfaces
        assert guard == Interface("eth0", "nftables", why=TO_COME)
        assert on_xdp == Interface("eth0", "xdp", "native")
        assert (on_nftables.name, on_nftables.engine) == ("eth1", "nftables")
        assert on_nftables.why.startswith("eth1 has an XDP program that is not geodrop's")
        assert host.engines.verify(host.ruleset(1)) == []
        for number in (0, 1):
            host.send(number, "2.2.2.2", 7)
            # The foreign program on eth1 judges too, by a policy that drops CN: packets of RU pass it.
            host.send(number, "5.5.5.5", 3)
        assert host.counted()["accepted"] == 20
        with pytest.raises(UnavailableError, match="eth1 has an XDP program"):
            host.load("xdp", "eth0", "eth1", generation=2)
        assert host.placed_first() == {"eth0": "xdp", "eth1": "nftables"}
        assert host.engines.verify(host.ruleset(1)) == []
    # On the next load it goes to xdp; nftables only waits for new interfaces.
    host.load("auto", "eth0", "eth1")
    assert host.placed_first() == {"eth0": "xdp", "eth1": "xdp"}
    assert host.counted()["accepted"] == 20


def test_nftables_guards_newcomers_and_counts_nothing_twice(host: Host) -> None:
    """A pattern stays with nftables, which accepts what xdp judges; a new interface is judged at once."""
    host.load("auto", "eth*")
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp", "eth*": "nftables"}
    assert host.engines.observe().interfaces[-1].why == TO_COME
    host.send(0, "2.2.2.2", 5)
    host.send(1, "1.1.1.1", 6)
    assert host.counted() == {"accepted": 5, "dropped CN": 6}
    # The interface that replaces eth1 has another number.
    host.netns.run("ip", "link", "delete", "eth1")
    join(*host.wires[1])
    host.send(1, "1.1.1.1", 4)
    host.send(1, "2.2.2.2", 3)
    assert host.counted() == {"accepted": 8, "dropped CN": 10}
    assert host.placed() == {"eth0": "xdp", "eth*": "nftables"}
    report = host.load("auto", "eth*")
    assert "fill" in report.seconds
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp", "eth*": "nftables"}
    assert host.engines.verify(host.ruleset(1)) == []
    host.send(1, "1.1.1.1", 2)
    assert host.counted() == {"accepted": 8, "dropped CN": 12}


def test_nftables_guards_exact_names_too(host: Host) -> None:
    """An interface that returns without a daemon has another number and no program:
    it is judged from its first packet.
    """
    host.load("auto", "eth0", "eth1")
    assert host.engines.observe().interfaces[2:] == (
        Interface("eth0", "nftables", why=TO_COME),
        Interface("eth1", "nftables", why=TO_COME),
    )
    host.send(1, "1.1.1.1", 4)
    host.send(1, "2.2.2.2", 2)
    host.netns.run("ip", "link", "delete", "eth1")
    join(*host.wires[1])
    host.send(1, "1.1.1.1", 3)
    host.send(1, "2.2.2.2", 1)
    assert host.counted() == {"accepted": 3, "dropped CN": 7}
    assert set(host.coverage("eth0", "eth1").judged) == {"eth0", "eth1"}
    host.load("auto", "eth0", "eth1")
    assert [one.engine for one in host.engines.observe().interfaces] == ["xdp", "xdp", "nftables", "nftables"]
    host.send(1, "1.1.1.1", 1)
    assert host.counted() == {"accepted": 3, "dropped CN": 8}


def test_a_port_of_a_bridge(host: Host) -> None:
    """Xdp can judge a port, since it sees frames before the bridge takes them; nftables sees packets on the bridge.

    A rule for the port drops nothing, which is reported; and a load that would take the port from xdp is refused.
    """
    host.netns.run("ip", "link", "add", "br0", "type", "bridge")
    host.netns.run("ip", "link", "set", "br0", "address", host.address(0), "up")
    host.load("nftables", "eth0")
    host.netns.run("ip", "link", "set", "eth0", "master", "br0")
    host.send(0, "1.1.1.1", 5)
    assert host.counted() == {}
    found = host.coverage("eth0")
    assert found.judged == ()
    assert [problem.split(",")[0] for problem in found.problems] == ["interface eth0 is a port of br0 (bridge)"]
    host.load("auto", "eth0")
    host.send(0, "1.1.1.1", 3)
    assert host.counted() == {"dropped CN": 3}
    assert host.coverage("eth0") == Coverage(("eth0", "br0"), (), (("eth0",), ()))
    with pytest.raises(UnavailableError, match="packets on eth0 would no longer be judged: it is a port of br0"):
        host.load("nftables", "eth0", generation=2)
    host.send(0, "1.1.1.1", 2)
    assert host.counted() == {"dropped CN": 5}
    host.load("nftables", "eth0", "br0", generation=3)
    host.send(0, "1.1.1.1", 4)
    assert host.counted() == {"dropped CN": 9}
    assert set(host.coverage("eth0", "br0").judged) == {"eth0", "br0"}


def test_an_interface_without_ethernet_headers(host: Host) -> None:
    """Auto gives it to nftables, with the reason, and its packets are judged there; a named xdp is refused."""
    with open("/dev/net/tun", "r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", b"tun0", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
        host.netns.run("ip", "link", "set", "tun0", "up")
        with pytest.raises(UnavailableError, match="tun0 carries packets without an Ethernet header") as caught:
            host.load("xdp", "eth0", "tun0")
        assert caught.value.exit_code == 69
        assert host.engines.observe().generation == 0
        host.load("auto", "eth0", "tun0")
        placed = {one.name: one for one in host.engines.observe().interfaces if one.why != TO_COME}
        assert (placed["eth0"].engine, placed["tun0"].engine) == ("xdp", "nftables")
        assert placed["tun0"].why.startswith("tun0 carries packets without an Ethernet header (tun, type 65534)")
        sources = ("1.1.1.1", "1.1.1.1", "2.2.2.2")
        device.writelines(encode(Packet(source, dport=443), number) for number, source in enumerate(sources))
        assert host.counted() == {"dropped CN": 2, "accepted": 1}
        assert set(host.coverage("eth0", "tun0").judged) == {"eth0", "tun0"}


def test_ipsec_moves_auto_to_nftables(host: Host) -> None:
    """With the first IPsec state, at the next load; without any state, xdp is used again."""
    host.load("auto", "eth0")
    assert host.placed_first()["eth0"] == "xdp"
    before = host.engines.fingerprint()
    ends = ("src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "reqid", "1", "mode", "tunnel")
    host.netns.run("ip", "xfrm", "state", "allocspi", *ends, "min", "256", "max", "999")
    assert host.engines.fingerprint() != before, "nothing would make the daemon look"
    [problem] = host.coverage("eth0").problems
    assert problem.startswith("IPsec is in use, and xdp, which judges eth0")
    host.load("auto", "eth0")
    assert host.engines.observe().interfaces == (Interface("eth0", "nftables", why=IPSEC),)
    assert host.coverage("eth0").problems == ()
    host.netns.run("ip", "xfrm", "state", "flush")
    host.load("auto", "eth0")
    assert host.placed_first()["eth0"] == "xdp"


def test_a_link_that_is_gone_behind_an_exemption_is_found(host: Host) -> None:
    """Nftables accepts what xdp should judge: if xdp does not judge it, `verify` reports that neither does."""
    host.load("auto", "eth*")
    assert host.engines.xdp is not None
    pins = host.engines.xdp.pins
    (pins.links / str(pins.link_indexes()[0])).unlink()
    found = [one for one in host.engines.verify(host.ruleset(1)) if one.found == "judged by neither"]
    assert [one.where for one in found] == ["interface eth0"]


def test_moving_under_traffic_leaks_nothing_and_keeps_the_totals(host: Host) -> None:
    """From engine to engine and back, with and without a new generation: denied packets never pass, allowed ones always
    do.

    Totals only grow.
    """
    totals: list[Counter[str]] = []
    with Traffic(*host.wires[0], ["1.1.1.1", "2.2.2.2"]) as traffic:
        host.load("nftables", "eth0")
        before = traffic.passed()["1.1.1.1"]
        for number, engine in enumerate(["auto", "nftables", "xdp", "nftables", "auto", "xdp", "auto", "nftables"], 2):
            name = "eth*" if number % 3 else "eth0"
            host.load(engine, name, generation=number)
            totals.append(host.counted())
            # Within one generation to the old place, and back again.
            host.load("nftables" if engine != "nftables" else "auto", name, generation=number)
            totals.append(host.counted())
        after = traffic.passed()["1.1.1.1"]
    assert after == before
    assert traffic.tallies["2.2.2.2"].passed > 0.99 * traffic.tallies["2.2.2.2"].sent
    for earlier, later in itertools.pairwise(totals):
        # On a busy machine no packet may have been sent between two readings.
        assert all(later[key] >= count for key, count in earlier.items())
    assert all(totals[-1][key] > count for key, count in totals[0].items())


def test_a_crash_leaves_old_or_new_on_each_interface(host: Host) -> None:
    """The load is killed at any moment while interfaces move and the policy changes; the next load
    repairs everything.
    """
    seen = set()
    for number in range(20):
        generation = 2 * number + 1
        started = time.monotonic()
        host.load("auto" if number % 2 else "nftables", "eth*", generation=generation)
        took = time.monotonic() - started
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                host.load("nftables" if number % 4 > 1 else "auto", "eth*", generation=generation + 1)
            os._exit(0)
        # Kill it between its first moment and well after its end, however fast the machine is at the moment.
        time.sleep(took * number / 8)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.add(host.engines.observe().generation - generation)
        before = host.counted()
        for at in (0, 1):
            host.send(at, "1.1.1.1", 5)
        assert host.counted()["dropped CN"] - before["dropped CN"] == 10
    assert seen == {0, 1}, "killed always too early, or always too late"
    host.load("auto", "eth*", generation=100)
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp", "eth*": "nftables"}
    assert host.engines.verify(host.ruleset(100)) == []


def test_removing_takes_both(host: Host) -> None:
    """Nothing is left of either, and a second removal finds nothing."""
    host.load("auto", "eth*")
    assert host.engines.remove()
    assert host.engines.observe().generation == 0
    assert not host.engines.remove()
    assert host.netns.run("nft", "list", "ruleset") == ""
