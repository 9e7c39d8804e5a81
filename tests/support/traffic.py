# SPDX-License-Identifier: Apache-2.0
"""Continuous traffic through a judged interface, every packet accounted for.

A separate process sends from several sources in turn, as fast as it can. In the judged namespace a test table counts
each source's packets just before geodrop's place in prerouting and just after it. So for each source three numbers are
known: packets sent, packets that reached the hook, and packets accepted.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import mac_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.namespaces import End

ETHERTYPES = {4: 0x0800, 6: 0x86DD}

MAX_SECONDS = 300
"""Seconds after which a sender ends by itself; it also ends with the test that started it."""

SENDER = """
import ctypes, os, signal, socket, sys, time
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
end = time.monotonic() + float(sys.argv.pop(1))
running = os.getppid() != 1
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
interface, *frames = sys.argv[1:]
frames = [bytes.fromhex(frame) for frame in frames]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
wire.bind((interface, 0))
rounds = 0
print("sending", flush=True)
while running and time.monotonic() < end:
    for frame in frames:
        wire.send(frame)
    rounds += 1
print(rounds)
"""


@dataclass(frozen=True)
class Tally:
    """The packets of one source."""

    sent: int
    reached: int
    passed: int


class Traffic:
    """Send from `sources` to a port, from one end of a veth pair to the other, until the block ends.

    `ports` gives another port for some of the sources.
    """

    def __init__(
        self,
        sender: End,
        sink: End,
        sources: Sequence[str],
        dport: int = 443,
        ports: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.sources = list(sources)
        self.tallies: dict[str, Tally] = {}
        self._sender, self._sink = sender, sink
        frames = []
        for number, source in enumerate(self.sources, start=1):
            packet = Packet(source, dport=ports.get(source, dport))
            header = mac_address(sink) + mac_address(sender) + ETHERTYPES[packet.family].to_bytes(2, "big")
            frames.append((header + encode(packet, number)).hex())
        self._command = [
            "nsenter", f"--net=/run/netns/{sender.namespace.name}",
            sys.executable, "-c", SENDER, str(MAX_SECONDS), sender.name, *frames,
        ]  # fmt: skip

    def __enter__(self) -> Self:
        self._sink.namespace.nft(_counting(self.sources))
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "sending\n"
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        output = self._process.communicate(timeout=60)[0]
        rounds = int(output)
        # The last packets sent may still be in the other processor's queue.
        deadline = time.monotonic() + 5
        while self._counters("reached") != dict.fromkeys(self.sources, rounds) and time.monotonic() < deadline:
            time.sleep(0.05)
        reached, passed = self._counters("reached"), self._counters("passed")
        self.tallies = {source: Tally(rounds, reached[source], passed[source]) for source in self.sources}
        self._sink.namespace.run("nft", "delete", "table", "inet", "traffic")

    def passed(self) -> dict[str, int]:
        """Return how many of each source's packets were accepted so far."""
        return self._counters("passed")

    def _counters(self, where: str) -> dict[str, int]:
        listing = json.loads(self._sink.namespace.run("nft", "--json", "list", "counters", "table", "inet", "traffic"))
        found = {
            item["counter"]["name"]: item["counter"]["packets"] for item in listing["nftables"] if "counter" in item
        }
        return {source: found[f"{where}{number}"] for number, source in enumerate(self.sources)}


def _counting(sources: Sequence[str]) -> str:
    """Return an nftables table that counts each source on both sides of priority -450."""
    lines = ["table inet traffic {"]
    for where, priority in (("reached", -460), ("passed", -440)):
        lines += [f"  counter {where}{number} {{ }}" for number in range(len(sources))]
        lines.append(f"  chain {where} {{ type filter hook prerouting priority {priority}; policy accept;")
        for number, source in enumerate(sources):
            lines.append(f'    {"ip6" if ":" in source else "ip"} saddr {source} counter name "{where}{number}"')
        lines.append("  }")
    return "\n".join([*lines, "}"])
