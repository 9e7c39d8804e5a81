# SPDX-License-Identifier: Apache-2.0
"""Find out by packets which policy judges on an interface."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

from tests.conformance.frames import encode
from tests.oracle.packet import UDP, Packet
from tests.support.namespaces import PacketSender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.namespaces import End

CHINA, AMERICA, RUSSIA = {"1.1.1.1", "2400::1"}, {"2.2.2.2", "2600::1"}, {"5.5.5.5", "2a02::1"}
LETS_THROUGH = {"": CHINA | AMERICA | RUSSIA, "a": AMERICA | RUSSIA, "b": AMERICA}
"""The sources whose packets arrive under each policy; with the key "", without any policy."""

PACKET_OUTGOING = 4  # linux/if_packet.h
ETH_P_ALL = 3
SECONDS = 60
"""The deadline for a packet that must arrive; it normally takes a millisecond."""


class Probe:
    """Finds out by packets which policy judges on an interface."""

    def __init__(self, sender: End, judged: End) -> None:
        self._sender = PacketSender(sender, judged)
        with judged.namespace.entered():
            self._receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self._receiver.bind((judged.name, ETH_P_ALL))
        self._receiver.settimeout(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def let_through(self, sources: Sequence[str]) -> set[str]:
        """Send a packet from each source to the service; return the sources whose packets arrived."""
        frames = {encode(Packet(source), 1): source for source in sources}
        last = encode(Packet(sources[0], protocol=UDP, dport=9), 1)  # no service takes it, and it arrives last
        self._sender.send([*frames, last])
        came: set[str] = set()
        while True:
            frame, (_, _, kind, *_) = self._receiver.recvfrom(2048)
            if kind == PACKET_OUTGOING:
                continue
            if frame == last:
                return came
            if frame in frames:
                came.add(frames[frame])

    def policy(self) -> str:
        """Return the policy in force: the key of LETS_THROUGH whose packets arrived, and no others."""
        came = self.let_through(sorted(LETS_THROUGH[""]))
        return next(name for name, sources in LETS_THROUGH.items() if sources == came)
