# SPDX-License-Identifier: Apache-2.0
"""For tests that need features of another kernel, in the emulated machine of `make test-kernels`.

Such a machine has Debian's own kernel with its modules (bonds, VRFs, VLANs, tunnels, flowtables), and a clock of its
own.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from geodrop.dataplane import transaction
from geodrop.dataplane.coverage import Coverage, read_coverage
from geodrop.engine.interfaces import Selection, select
from tests.conformance.frames import encode
from tests.oracle.packet import LOCAL, Packet
from tests.support.namespaces import End, PacketSender, join

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geodrop.dataplane.both import BothEngines
    from geodrop.ruleset.model import Ruleset
    from tests.support.namespaces import Namespace

IPV4 = DENIED, ALLOWED = "1.1.1.1", "2.2.2.2"
IPV6 = "2400::1", "2600::1"
"""A source that the policy of tests.support.worlds drops, and one that it accepts."""

COUNT = 3
PATIENCE = 60.0
"""Seconds to wait for any condition: emulated processors are slow."""


def is_emulated() -> bool:
    """Return whether this is the machine of `make test-kernels`, by its kernel command line."""
    return "virtme_" in Path("/proc/cmdline").read_text(encoding="utf-8")


class Met(NamedTuple):
    """Counts of packets: arrived from the denied and from the allowed source, and counted by the engines."""

    denied: int
    allowed: int
    counted: dict[str, int]


DROPPED = Met(0, COUNT, {"dropped CN": COUNT, "accepted": COUNT})
"""Each packet was judged once."""
UNJUDGED = Met(COUNT, COUNT, {})


def arrivals(
    pair: tuple[End, End],
    sources: Sequence[str] = IPV4,
    send: Callable[[bytes], object] | None = None,
    dest: str = "",
) -> Counter[str]:
    """Send packets from a denied source, then from an allowed one, to port 443; count those that reach the sockets.

    The packets from the allowed source are sent last, and waited for.
    """
    kind = socket.AF_INET if ip_address(sources[0]).version == 4 else socket.AF_INET6
    arrived: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.enter_context(pair[1].namespace.entered())
        receiver = stack.enter_context(socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_TCP))
        receiver.settimeout(PATIENCE)
        sender = stack.enter_context(PacketSender(*pair))
        # On one processor, so that the packets stay in order.
        processors = os.sched_getaffinity(0)
        stack.callback(os.sched_setaffinity, 0, processors)
        os.sched_setaffinity(0, {min(processors)})
        for number in range(2 * COUNT):
            packet = encode(Packet(sources[number // COUNT], dest, dport=443), number)
            if send:
                send(packet)
            else:
                sender.send([packet])
        while arrived[sources[1]] < COUNT:
            arrived[receiver.recvfrom(256)[1][0]] += 1
    return arrived


@dataclass(frozen=True)
class Host:
    """A judged host, whose policy drops CN, and a far end. Use it inside the host's namespace."""

    far: Namespace
    netns: Namespace
    engines: BothEngines
    ruleset: Ruleset

    def plug(self, number: int = 0) -> tuple[End, End]:
        """Add a veth pair between the far end and the host, both ends up."""
        pair = End(self.far, f"far{number}"), End(self.netns, f"eth{number}")
        join(*pair)
        return pair

    def uplink(self, number: int = 0) -> tuple[End, End]:
        """Add a veth pair whose end is the only port of a bond, wan0 or wan1: a bond needs no name to be an uplink."""
        far, port = self.plug(number)
        name = f"wan{number}"
        self.ip(f"link add {name} type bond mode balance-rr miimon 100", f"link set {port.name} down")
        self.ip(f"link set {port.name} master {name}", f"link set {name} up")
        return far, End(self.netns, name)

    def ip(self, *commands: str) -> None:
        """Run commands of ip on the host."""
        for command in commands:
            self.netns.run("ip", *command.split())

    def there(self, *commands: str) -> None:
        """Run commands of ip at the far end."""
        for command in commands:
            self.far.run("ip", *command.split())

    def local(self, interface: str = "lo") -> None:
        """Give the host the addresses that packets go to."""
        self.ip(f"address add {LOCAL[4]}/32 dev {interface}", f"address add {LOCAL[6]}/128 dev {interface} nodad")

    def arrange(self, engine: str, *names: str, generation: int = 1) -> Selection:
        """Load as geodrop does and return the selection.

        Without names, the interfaces with a default route are selected.
        """
        selection = select(names)
        transaction.apply(self.engines, self.ruleset, generation, selection, engine)
        differences = self.engines.verify(self.ruleset)
        assert not differences, differences
        return selection

    def select(self) -> tuple[str, ...]:
        """Return the interfaces that are judged if agent.yaml names none."""
        return select(()).names

    def engine_of(self) -> dict[str, str]:
        """Return the engine of each interface.

        If both engines name an interface, that is xdp: nftables then only waits for another interface of that name.
        """
        return {one.name: one.engine for one in reversed(self.engines.observe().interfaces)}

    def why(self, name: str) -> str:
        """Return why an interface is not on xdp."""
        return next(one.why for one in self.engines.observe().interfaces if one.name == name)

    def coverage(self, *names: str) -> Coverage:
        """Return what status reports about these interfaces."""
        return read_coverage(names, self.engines, self.engines.observe().interfaces)

    def meet(
        self, pair: tuple[End, End], sources: Sequence[str] = IPV4, send: Callable[[bytes], object] | None = None
    ) -> Met:
        """Return what becomes of packets of a denied and an allowed source, sent over a veth pair or by `send`."""
        before = self._counted()
        arrived = arrivals(pair, sources, send)
        return Met(arrived[sources[0]], arrived[sources[1]], self._counted() - before)

    def _counted(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for count in self.engines.counters():
            found[f"dropped {count.label}"] += count.dropped[0]
            found["accepted"] += count.accepted[0]
        return +found
