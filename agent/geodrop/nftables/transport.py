# SPDX-License-Identifier: Apache-2.0
"""Selectors for what rules read of transport headers: protocols, ports, types, flags. Pure.

The kernel finds where a packet's transport header begins, and counts an authentication header (AH) as one
(ipv6_find_hdr with IP6_FH_F_AUTH; IPv4 has no other extension headers). What the AH protects stands behind it, at an
offset that depends on the AH's length. nf_tables reads at fixed offsets only, so each supported length needs a rule.

A rule does not apply where there is nothing to read. Data of later fragments is an exception: rules read it as if it
were ports and flags. nft_payload_eval refuses that since Linux 5.17 (a9e8503def0f); nft_payload_fast_eval, which
handles loads of 1, 2 and 4 bytes, still does not in 6.18. So `entry` leads later fragments aside first.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.engine import control_traffic
from geodrop.nftables.matches import FRAGMENT, among, family, singles
from geodrop.nftables.netlink.expressions import Bitwise, Cmp, MetaLoad, Payload
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, MetaKey, PayloadBase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.nftables.matches import Ranges, Selector

AUTHENTICATION = 51
_EXTENSIONS = (0, 43, FRAGMENT, AUTHENTICATION, 60)
"""Hop-by-hop options, routing, fragment, AH again, destination options: behind an AH none of these is read."""

_HOP_LIMIT = Payload(PayloadBase.NETWORK, 7, 1)
_NEXT_HEADER, _LENGTH = (Payload(PayloadBase.TRANSPORT, offset, 1) for offset in (0, 1))
_SYN, _ACK = 0x02, 0x10
_READABLE = Cmp(CmpOp.GTE, bytes(2))
"""Always true of loaded bytes. A rule whose bytes cannot be loaded does not apply."""


@dataclass(frozen=True, slots=True)
class Transport:
    """A transport header: the one that the kernel finds, or one behind an authentication header.

    `length` is the second byte of the authentication header: its length in words of 4 bytes, minus two (RFC 4302, 2.2).
    """

    length: int | None = None

    @property
    def comment(self) -> str:
        """The comment of a rule about an authentication header of this length."""
        return "" if self.length is None else f"{4 * (self.length + 2)} bytes"

    def protocols(self, numbers: Iterable[int]) -> Selector:
        """Select packets of any of these protocols."""
        if self.length is None:
            return (MetaLoad(MetaKey.L4PROTO), *among(KeyType.INET_PROTO, 1, singles(numbers)))
        return (*protects(numbers), *self._of_length())

    def destination_ports(self, numbers: Iterable[int], ranges: Ranges) -> Selector:
        """Select packets of any of these protocols (TCP, UDP or both) to any of these ports; ranges are inclusive."""
        key = KeyType.INET_SERVICE if self.length is None else KeyType.INTEGER
        return (*self.protocols(numbers), self._at(2, 2), *among(key, 2, ranges))

    def other_ports(self, ranges: Ranges) -> Selector | None:
        """Select packets to any other port, once the protocol has been checked; None if there is no other port."""
        bounds = sorted(ranges)
        edges = [-1, *(edge for first, last in bounds for edge in (first, last)), 1 << 16]
        outside = [(a + 1, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=True) if a + 1 < b]
        if not outside:
            return None
        start = (*self._of_length(), self._at(2, 2))
        if len(bounds) == 1 and bounds[0][0] == bounds[0][1]:
            return (*start, Cmp(CmpOp.NEQ, bounds[0][0].to_bytes(2, "big")))
        return (*start, *among(KeyType.INTEGER if self.length else KeyType.INET_SERVICE, 2, outside))

    def dhcp(self, version: int, source: int, destination: int) -> Selector:
        """Select UDP packets of a family between two ports."""
        return (
            *family(version),
            *self.protocols([control_traffic.UDP]),
            self._at(0, 2),
            Cmp(CmpOp.EQ, source.to_bytes(2, "big")),
            self._at(2, 2),
            Cmp(CmpOp.EQ, destination.to_bytes(2, "big")),
        )

    def icmp_errors(self) -> Selector:
        """Select ICMP packets that report an error about another packet."""
        return self._icmp(4, control_traffic.ICMP, KeyType.ICMP_TYPE, singles(control_traffic.ICMP_ERRORS))

    def icmpv6_errors(self) -> Selector:
        """Select ICMPv6 packets that report an error about another packet."""
        return self._icmp(6, control_traffic.ICMPV6, KeyType.ICMPV6_TYPE, [control_traffic.ICMPV6_ERRORS])

    def neighbour_discovery(self) -> Selector:
        """Select neighbour discovery that did not cross a router."""
        return (
            *self._icmp(6, control_traffic.ICMPV6, KeyType.ICMPV6_TYPE, [control_traffic.NEIGHBOUR_DISCOVERY]),
            _HOP_LIMIT,
            Cmp(CmpOp.EQ, bytes([control_traffic.LINK_LOCAL_HOP_LIMIT])),
        )

    def no_openings(self) -> list[Selector]:
        """Select TCP with readable flags that does not open a connection; an opening packet has SYN without ACK.

        Behind an authentication header there is one selector for each flag: nft 1.1 lists a mask with a gap as another
        mask, so a ruleset that nft saved would let SYN through.
        """
        if self.length is None:
            return [self._flags(_SYN | _ACK, CmpOp.NEQ, _SYN)]
        return [self._flags(_ACK, CmpOp.EQ, _ACK), self._flags(_SYN, CmpOp.EQ, 0)]

    def _flags(self, mask: int, comparison: CmpOp, value: int) -> Selector:
        """Select TCP whose flags under `mask` compare to `value` in this way."""
        there = (*self.protocols([control_traffic.TCP]), self._at(13, 1))
        return (*there, Bitwise(bytes([mask]), bytes(1)), Cmp(comparison, bytes([value])))

    def shows_ports(self) -> Selector:
        """Select packets that hold the first four bytes of this header: the ports of TCP and UDP."""
        return (*self._of_length(), self._at(2, 2), _READABLE)

    def is_reached(self) -> Selector:
        """Select packets that hold the whole authentication header in front of this header."""
        return (*self._of_length(), self._at(-2, 2), _READABLE)

    def _icmp(self, version: int, number: int, types: KeyType, ranges: Ranges) -> Selector:
        key = types if self.length is None else KeyType.INTEGER
        return (*family(version), *self.protocols([number]), self._at(0, 1), *among(key, 1, ranges))

    def _of_length(self) -> Selector:
        return () if self.length is None else (_LENGTH, Cmp(CmpOp.EQ, bytes([self.length])))

    def _at(self, offset: int, length: int) -> Payload:
        begins = 0 if self.length is None else 4 * (self.length + 2)
        return Payload(PayloadBase.TRANSPORT, begins + offset, length)


VISIBLE = Transport()
"""The transport header that the kernel finds."""

PROTECTED = tuple(Transport(length) for length in range(1, 15))
"""Behind an authentication header of each supported length: integrity check values of 0 to 52 bytes."""


def protects(numbers: Iterable[int]) -> Selector:
    """Select, among packets with an authentication header, those with one of these protocols behind it."""
    return (_NEXT_HEADER, *among(KeyType.INTEGER, 1, singles(numbers)))


def protects_transport() -> Selector:
    """Select packets with an authentication header that has no other extension header behind it."""
    bounds = itertools.pairwise((-1, *_EXTENSIONS, 256))
    others = [(before + 1, behind - 1) for before, behind in bounds if before + 1 < behind]
    return (*VISIBLE.protocols([AUTHENTICATION]), _NEXT_HEADER, *among(KeyType.INET_PROTO, 1, others))


def neither(numbers: Iterable[int]) -> Selector:
    """Select packets whose protocol can be read and is none of these."""
    return (MetaLoad(MetaKey.L4PROTO), *(Cmp(CmpOp.NEQ, bytes([number])) for number in numbers))
