"""Both engines on one host: each interface judged by one of them, whatever moves, and every packet counted once."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.arrange import arrange
from geodrop.dataplane.assign import TO_COME
from geodrop.dataplane.engine import Interface
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.interfaces import select
from geodrop.dataplane.nftables.engine import NftablesEngine
from geodrop.dataplane.xdp.engine import XdpEngine
from geodrop.errors import UnavailableError
from tests.bpffs import own_pins
from tests.conformance.frames import encode
from tests.namespaces import End, PacketSender, join, namespaces
from tests.oracle.packet import Packet
from tests.traffic import Traffic
from tests.worlds import POLICY_CN, POLICY_US, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.dataplane.engine import Report
    from geodrop.ruleset.model import Ruleset
    from tests.namespaces import Namespace


class Host:
    """A judged host with eth0 and eth1, each joined to a sender; both rulesets drop CN, only the second drops RU."""

    def __init__(self, sender: Namespace, netns: Namespace, engines: Engines, rulesets: list[Ruleset]) -> None:
        self.netns, self.engines, self.rulesets = netns, engines, rulesets
        self.wires = [(End(sender, f"far{number}"), End(netns, f"eth{number}")) for number in (0, 1)]
        for pair in self.wires:
            join(*pair)

    def arrange(self, engine: str, *names: str, generation: int = 1) -> Report:
        """What a load does to the kernel: even generations have the second ruleset."""
        return arrange(self.engines, self.ruleset(generation), generation, select(names), engine)

    def ruleset(self, generation: int) -> Ruleset:
        """The one of that generation."""
        return self.rulesets[generation % 2 - 1]

    def placed(self) -> dict[str, str]:
        """Engine by interface."""
        return {interface.name: interface.engine for interface in self.engines.observe().interfaces}

    def send(self, number: int, source: str, count: int) -> None:
        """Packets to port 443 on one interface."""
        with PacketSender(*self.wires[number]) as sender:
            sender.send([encode(Packet(source, dport=443), at) for at in range(count)])
        time.sleep(0.05)

    def counted(self) -> Counter[str]:
        """Packets by what became of them, of all services and families."""
        found: Counter[str] = Counter()
        for count in self.engines.counters():
            found[f"dropped {count.label}"] += count.dropped[0]
            found["accepted"] += count.accepted[0]
        return +found


@pytest.fixture
def host(kernel: None, tmp_path: Path) -> Iterator[Host]:
    """Inside the judged namespace, with pins of its own."""
    del kernel
    rulesets = [compiled(policy, tmp_path) for policy in (POLICY_CN, POLICY_US)]
    with namespaces("sender", "host") as [sender, netns], own_pins() as pins, netns.entered():
        made = Host(sender, netns, Engines(NftablesEngine(), XdpEngine(pins=pins)), rulesets)
        yield made
        made.engines.remove()


@contextlib.contextmanager
def foreign_program(host: Host, name: str) -> Iterator[None]:
    """Somebody else's program on an interface."""
    with own_pins() as others:
        theirs = XdpEngine(pins=others)
        theirs.apply(host.rulesets[0], 1, [name])
        yield
        theirs.remove()


def test_auto_falls_back_an_interface_at_a_time(host: Host) -> None:
    """Xdp where it can be, nftables where it is refused, each saying so; a named xdp changes nothing at all."""
    with foreign_program(host, "eth1"):
        host.arrange("auto", "eth0", "eth1")
        on_xdp, on_nftables = host.engines.observe().interfaces
        assert on_xdp == Interface("eth0", "xdp", "native")
        assert (on_nftables.name, on_nftables.engine) == ("eth1", "nftables")
        assert on_nftables.why.startswith("eth1 has an XDP program that is not geodrop's")
        assert host.engines.verify(host.ruleset(1)) == []
        for number in (0, 1):
            host.send(number, "2.2.2.2", 7)
            # The foreign program on eth1 judges too, by a policy that drops CN: RU comes through it.
            host.send(number, "5.5.5.5", 3)
        assert host.counted()["accepted"] == 20
        with pytest.raises(UnavailableError, match="eth1 has an XDP program"):
            host.arrange("xdp", "eth0", "eth1", generation=2)
        assert host.placed() == {"eth0": "xdp", "eth1": "nftables"}
        assert host.engines.verify(host.ruleset(1)) == []
    # Tried again, it goes to xdp; with nothing left to it nftables keeps only its counters.
    host.arrange("auto", "eth0", "eth1")
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp"}
    assert host.counted()["accepted"] == 20


def test_nftables_guards_newcomers_and_counts_nothing_twice(host: Host) -> None:
    """A pattern stays with nftables, which lets pass what xdp judges; an interface that comes is judged at once."""
    host.arrange("auto", "eth*")
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp", "eth*": "nftables"}
    assert host.engines.observe().interfaces[-1].why == TO_COME
    host.send(0, "2.2.2.2", 5)
    host.send(1, "1.1.1.1", 6)
    assert host.counted() == {"accepted": 5, "dropped CN": 6}
    # Another interface in the place of eth1 has another number.
    host.netns.run("ip", "link", "delete", "eth1")
    join(*host.wires[1])
    host.send(1, "1.1.1.1", 4)
    host.send(1, "2.2.2.2", 3)
    assert host.counted() == {"accepted": 8, "dropped CN": 10}
    assert host.placed() == {"eth0": "xdp", "eth*": "nftables"}
    report = host.arrange("auto", "eth*")
    assert "fill" in report.seconds
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp", "eth*": "nftables"}
    assert host.engines.verify(host.ruleset(1)) == []
    host.send(1, "1.1.1.1", 2)
    assert host.counted() == {"accepted": 8, "dropped CN": 12}


def test_a_link_that_is_gone_behind_an_exemption_is_found(host: Host) -> None:
    """Nftables lets pass what xdp should judge: if that does not, verify says that nobody does."""
    host.arrange("auto", "eth*")
    assert host.engines.xdp is not None
    pins = host.engines.xdp.pins
    (pins.links / str(pins.link_indexes()[0])).unlink()
    found = [one for one in host.engines.verify(host.ruleset(1)) if one.found == "judged by neither"]
    assert [one.where for one in found] == ["interface eth0"]


def test_moving_under_traffic_leaks_nothing_and_keeps_the_totals(host: Host) -> None:
    """From engine to engine and back, with and without a new generation: what is denied never comes through, what is
    allowed always does, and totals only grow.
    """
    totals: list[Counter[str]] = []
    with Traffic(*host.wires[0], ["1.1.1.1", "2.2.2.2"]) as traffic:
        host.arrange("nftables", "eth0")
        before = traffic.passed()["1.1.1.1"]
        for number, engine in enumerate(["auto", "nftables", "xdp", "nftables", "auto", "xdp", "auto", "nftables"], 2):
            name = "eth*" if number % 3 else "eth0"
            host.arrange(engine, name, generation=number)
            totals.append(host.counted())
            # In the same generation to where it was, and back again.
            host.arrange("nftables" if engine != "nftables" else "auto", name, generation=number)
            totals.append(host.counted())
        after = traffic.passed()["1.1.1.1"]
    assert after == before
    assert traffic.tallies["2.2.2.2"].passed > 0.99 * traffic.tallies["2.2.2.2"].sent
    for earlier, later in itertools.pairwise(totals):
        assert all(later[key] > count for key, count in earlier.items())


def test_a_crash_leaves_old_or_new_on_each_interface(host: Host) -> None:
    """Killed at any moment while interfaces move and the policy changes; the next load mends it."""
    seen = set()
    for number in range(20):
        generation = 2 * number + 1
        host.arrange("auto" if number % 2 else "nftables", "eth*", generation=generation)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                host.arrange("nftables" if number % 4 > 1 else "auto", "eth*", generation=generation + 1)
            os._exit(0)
        time.sleep(0.003 * number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.add(host.engines.observe().generation - generation)
        before = host.counted()
        for at in (0, 1):
            host.send(at, "1.1.1.1", 5)
        assert host.counted()["dropped CN"] - before["dropped CN"] == 10
    assert seen == {0, 1}, "killed always too early, or always too late"
    host.arrange("auto", "eth*", generation=100)
    assert host.placed() == {"eth0": "xdp", "eth1": "xdp", "eth*": "nftables"}
    assert host.engines.verify(host.ruleset(100)) == []


def test_removing_takes_both(host: Host) -> None:
    """Nothing is left of either, and a second time there is nothing to remove."""
    host.arrange("auto", "eth*")
    assert host.engines.remove()
    assert host.engines.observe().generation == 0
    assert not host.engines.remove()
    assert host.netns.run("nft", "list", "ruleset") == ""
