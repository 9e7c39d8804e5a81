# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.nftables.netlink.expressions import MetaLoad, Payload
from geodrop.nftables.netlink.uapi import MetaKey, PayloadBase
from geodrop.nftables.transport import PROTECTED, VISIBLE, Transport, neither, protects, protects_transport
from tests.support.rules import TCP, UDP, applies

if TYPE_CHECKING:
    from geodrop.nftables.netlink.expressions import Expression


@pytest.mark.parametrize(
    ("flags", "opening"), [(0x02, True), (0x12, False), (0x10, False), (0x06, True), (0x00, False)]
)
def test_openings(flags: int, *, opening: bool) -> None:
    """SYN without ACK opens a connection, whatever other flags are set."""
    known: dict[Expression, bytes] = {
        MetaLoad(MetaKey.L4PROTO): bytes([TCP]),
        Payload(PayloadBase.TRANSPORT, 13, 1): bytes([flags]),
    }
    assert any(applies(one, known) for one in VISIBLE.no_openings()) is not opening
    segment = bytes(13) + bytes([flags])
    protected = authenticated(1, TCP, segment)
    assert any(applies(one, protected) for one in Transport(1).no_openings()) is not opening


def test_flags_that_cannot_be_read_are_judged() -> None:
    """A first fragment may end before the flags."""
    assert not any(applies(one, {MetaLoad(MetaKey.L4PROTO): bytes([TCP])}) for one in VISIBLE.no_openings())


def authenticated(length: int, following: int, behind: bytes) -> dict[Expression, bytes]:
    """Return what rules can load, byte by byte, of a packet whose authentication header has this length byte."""
    data = bytes([following, length]) + bytes(4 * (length + 2) - 2) + behind
    loads: dict[Expression, bytes] = {
        Payload(PayloadBase.TRANSPORT, at, size): data[at : at + size]
        for size in (1, 2)
        for at in range(len(data) - size + 1)
    }
    return {MetaLoad(MetaKey.L4PROTO): bytes([51]), MetaLoad(MetaKey.NFPROTO): bytes([2]), **loads}


@pytest.mark.parametrize("length", range(1, 15))
def test_headers_behind_an_authentication_header(length: int) -> None:
    """Ports, types and flags are read at their offset for this length, and by the rule for this length only."""
    segment = (40_000).to_bytes(2, "big") + (443).to_bytes(2, "big") + bytes(9) + bytes([0x10])
    tcp = authenticated(length, TCP, segment)
    for transport in PROTECTED:
        own = transport == Transport(length)
        assert applies(transport.destination_ports([TCP, UDP], [(443, 443)]), tcp) is own
        assert any(applies(one, tcp) for one in transport.no_openings()) is own
        assert applies(transport.shows_ports(), tcp) is own
        assert not applies(transport.destination_ports([UDP], [(443, 443)]), tcp)
        assert applies(transport.icmp_errors(), authenticated(length, 1, bytes([3]))) is own
        assert not applies(transport.icmp_errors(), authenticated(length, 1, bytes([8])))
        assert applies(transport.dhcp(4, 67, 68), authenticated(length, UDP, bytes([0, 67, 0, 68]))) is own


@pytest.mark.parametrize("length", range(1, 15))
def test_how_far_an_authentication_header_reaches(length: int) -> None:
    """A packet holds the whole header or not, and then the four bytes of ports or not."""
    transport = Transport(length)
    whole = authenticated(length, TCP, bytes(3))
    assert applies(transport.is_reached(), whole)
    assert not applies(transport.shows_ports(), whole)
    assert applies(transport.shows_ports(), authenticated(length, TCP, bytes(4)))
    cut = {load: value for load, value in whole.items() if not _reads_to(load, 4 * (length + 2))}
    assert not applies(transport.is_reached(), cut)


@pytest.mark.parametrize(
    ("ranges", "other"),
    [
        ([(443, 443)], {442, 444, 0, 65_535}),
        ([(0, 442)], {443, 65_535}),
        ([(443, 65_535)], {0, 442}),
        ([(80, 80), (443, 500)], {0, 79, 81, 442, 501, 65_535}),
        ([(0, 1), (2, 65_534)], {65_535}),
        ([(0, 65_535)], set()),
    ],
)
def test_other_ports(ranges: list[tuple[int, int]], other: set[int]) -> None:
    """Exactly the ports that were not named are selected; no selector if there are none."""
    selector = Transport(4).other_ports(ranges)
    assert (selector is None) is (not other)
    for port in (0, 1, 2, 79, 80, 81, 442, 443, 444, 500, 501, 65_534, 65_535):
        asked = any(first <= port <= last for first, last in ranges)
        found = bool(selector) and applies(selector, authenticated(4, TCP, bytes(2) + port.to_bytes(2, "big")))  # type: ignore[arg-type]
        assert found is not asked
    assert not other or not applies(selector, authenticated(5, TCP, bytes(4)))  # type: ignore[arg-type]


def test_what_an_authentication_header_may_protect() -> None:
    """The header may protect one of these protocols, or none of them, but no other extension header."""
    for following in range(256):
        found = authenticated(4, following, b"")
        assert applies(protects_transport(), found) is (following not in {0, 43, 44, 51, 60})
        assert applies(protects([TCP, UDP]), found) is (following in {TCP, UDP})


def test_neither() -> None:
    """The selector takes packets with a readable protocol that is not among these."""
    for number in (0, 6, 17, 51, 255):
        known: dict[Expression, bytes] = {MetaLoad(MetaKey.L4PROTO): bytes([number])}
        assert applies(neither([51, 6]), known) is (number not in {6, 51})
    assert not applies(neither([51]), {})


def _reads_to(load: Expression, end: int) -> bool:
    return isinstance(load, Payload) and load.offset + load.length >= end
