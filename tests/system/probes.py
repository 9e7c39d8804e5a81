# SPDX-License-Identifier: Apache-2.0
"""Send continuous probes to a machine: which get through, and when, seen at a place that no firewall flush affects.

A thread sends numbered TCP SYNs from denied and allowed sources. A raw socket in the machine's network namespace,
opened from outside, receives what passed the hooks: after prerouting, before any server (raw(7)).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self

from tests.conformance.frames import checksum
from tests.support.namespaces import PacketSender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.namespaces import End

PORT = 443
PORTS = (443, 8443)
"""Ports where probes arrive: a program on the host may translate the port that they are sent to."""
PAUSE = 0.004
"""Seconds between two rounds, one probe from each source: about 200 rounds a second."""
SETTLE = 0.2
"""Seconds in which the last probes arrive."""
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; the socket module has no name for it
BUFFER = 8 << 20


@dataclass(frozen=True)
class Outcome:
    """The probes of one source in some time: how many were sent, and which got through."""

    source: str
    sent: int
    passed: int
    first_passed: float | None = None
    last_passed: float | None = None


class Probes:
    """Probes from `sources` to an address of each family; times are seconds of time.monotonic(), and so is `pause`."""

    def __init__(
        self, client: End, machine: End, sources: Sequence[str], local: dict[int, str], pause: float = PAUSE
    ) -> None:
        self.sources = [str(ip_address(source)) for source in sources]
        self._sender = PacketSender(client, machine)
        self._local = local
        self._pause = pause
        self._sent: list[float] = []
        self._passed: set[tuple[str, int]] = set()
        self._running = True
        with machine.namespace.entered():
            self._receivers = [
                socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
                socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP),
            ]
        for receiver in self._receivers:
            receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            receiver.settimeout(0.1)
        self._threads = [threading.Thread(target=self._send)]
        self._threads += [threading.Thread(target=self._receive, args=(one,)) for one in self._receivers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        for thread in self._threads:
            thread.join()
        for receiver in self._receivers:
            receiver.close()
        self._sender.close()

    def outcome(self, source: str, since: float = 0.0, until: float = float("inf")) -> Outcome:
        """Return the outcome of a source's probes of that time; waits for those still on their way."""
        until = min(until, time.monotonic())
        while not self._sent or self._sent[-1] <= until:
            time.sleep(PAUSE)
        time.sleep(max(0.0, until + SETTLE - time.monotonic()))
        numbers = [number for number, at in enumerate(list(self._sent)) if since <= at <= until]
        passed = [number for number in numbers if (source, number) in self._passed]
        times = [self._sent[number] for number in passed]
        return Outcome(source, len(numbers), len(passed), min(times, default=None), max(times, default=None))

    def _send(self) -> None:
        number = 0
        while self._running:
            self._sent.append(time.monotonic())
            for source in self.sources:
                # While the host's interface is down or missing, no probe gets anywhere.
                with contextlib.suppress(OSError):
                    self._sender.send([self._syn(source, number)])
            number += 1
            time.sleep(self._pause)

    def _receive(self, receiver: socket.socket) -> None:
        while self._running:
            try:
                packet, address = receiver.recvfrom(256)
            except TimeoutError:
                continue
            # IPv4 packets come with their header, IPv6 without (raw(7), RFC 3542).
            tcp = packet[(packet[0] & 15) * 4 :] if receiver.family == socket.AF_INET else packet
            _, port, number = struct.unpack_from("!HHI", tcp)
            if port in PORTS:
                self._passed.add((str(ip_address(address[0])), number))

    def _syn(self, source: str, number: int) -> bytes:
        """Return a SYN whose sequence number is the probe's (RFC 9293, RFC 791, RFC 8200)."""
        origin, target = ip_address(source), ip_address(self._local[ip_address(source).version])
        header = struct.pack("!HHIIBBHHH", 40_000 + number % 20_000, PORT, number, 0, 5 << 4, 2, 1024, 0, 0)
        pseudo = origin.packed + target.packed + struct.pack("!II", len(header), 6)
        tcp = header[:16] + struct.pack("!H", checksum(pseudo + header)) + header[18:]
        if origin.version == 6:
            return struct.pack("!IHBB16s16s", 6 << 28, len(tcp), 6, 64, origin.packed, target.packed) + tcp
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), number & 0xFFFF, 0, 64, 6, 0)
        ip += origin.packed + target.packed
        return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp
