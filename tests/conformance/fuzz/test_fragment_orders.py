# SPDX-License-Identifier: Apache-2.0
"""Fragments in every order, one of them twice, with wrong next headers: without the first, none is delivered.

That is why later fragments may pass a service with ports: whatever arrives in whatever order, the stack reassembles
nothing without the fragment that holds the ports, and that fragment is judged.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.conformance.fuzz.campaign import campaign
from tests.conformance.fuzz.fragments import cut
from tests.conformance.fuzz.packets import Ipv4, ipv4_place, ipv6_fragment, ipv6_packet
from tests.conformance.fuzz.policies import MAIN
from tests.conformance.fuzz.sides import LOCAL
from tests.conformance.fuzz.transports import with_checksum
from tests.oracle.packet import DESTINATION, FRAGMENT, TCP, UDP, parsed
from tests.support.namespaces import ETH_P_IP, ETH_P_IPV6, require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.fuzz.sides import Origin

pytestmark = pytest.mark.root

ENGINES = ("nftables", "xdp-native", "xdp-generic")

LIES = {4: [UDP], 6: [UDP, TCP, DESTINATION, FRAGMENT, 59]}
"""Protocols that later fragments may claim. In IPv4 such a fragment belongs to another packet."""

PIECES = 4
PORT = 443


@dataclass(frozen=True)
class Ordered:
    """A UDP datagram in fragments of 8 bytes, of which the first has the ports, in some order."""

    family: int
    order: tuple[int, ...]
    lie: int
    fixed: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every fragment is present."""
        return len(set(self.order)) == PIECES

    def frames(self, origin: Origin) -> list[bytes]:
        """Return the frames as the origin sends them."""
        source, dest = origin.ipv4 if self.family == 4 else origin.ipv6("plain"), parsed(LOCAL[self.family][0]).packed
        datagram = struct.pack("!HHHH", 40_000, PORT, 8 * PIECES, 0) + bytes(8 * PIECES - 8)
        whole = cut(with_checksum(UDP, datagram, source, dest), UDP, [8 * place for place in range(PIECES)])
        sent = [
            replace(piece, following=self.lie) if piece.offset else piece for piece in (whole[i] for i in self.order)
        ]
        if self.family == 4:
            packets = [Ipv4(source + dest, UDP, 7, ipv4_place(piece)).packet(piece.data) for piece in sent]
        else:
            packets = [ipv6_packet(source + dest, 64, ipv6_fragment([], piece, 7), piece.data) for piece in sent]
        kind = struct.pack("!H", ETH_P_IP if self.family == 4 else ETH_P_IPV6)
        return [kind + packet for packet in packets]


def orders() -> Iterator[Ordered]:
    """Yield every order of all fragments: alone, with each fragment repeated at each place, and without each one."""
    for family, lies in LIES.items():
        for lie, order in itertools.product(lies, itertools.permutations(range(PIECES))):
            yield Ordered(family, order, lie)
            yield from (
                Ordered(family, tuple(one for one in order if one != missing), lie) for missing in range(PIECES)
            )
            for place, again in itertools.product(range(PIECES + 1), range(PIECES)):
                yield Ordered(family, (*order[:place], again, *order[place:]), lie)


def test_every_order(tmp_path: Path) -> None:
    """Each complete datagram is delivered without geodrop, and with geodrop only from the allowed side."""
    require()
    shapes = list(orders())
    with campaign(ENGINES, tmp_path) as running:
        result = running.run(MAIN, shapes)
    assert not result.findings, "\n".join(str(finding) for finding in result.findings[:20])
    assert result.delivered == result.deniable == sum(shape.is_whole for shape in shapes)
