# SPDX-License-Identifier: Apache-2.0
"""The oracle's verdict on a delivery, which is the datagram as the stack reassembled it, and on a frame before that."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tests.conformance.fuzz.shapes import is_behind_too_many_tags, is_hollow, untagged
from tests.conformance.fuzz.sides import DENIED, SAMPLE, text
from tests.oracle.packet import (
    AUTHENTICATION,
    EXTENSION_BYTES,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Packet,
    judge,
)
from tests.support.namespaces import ETH_P_IP, ETH_P_IPV6

if TYPE_CHECKING:
    from tests.conformance.fuzz.ears import Delivery
    from tests.oracle.ladder import Oracle

_WHOLE = 20
"""A transport header with this many bytes has every field that a verdict depends on."""

_SHORTEST = {4: 20, 6: 40}
"""The bytes of an IP header."""

_FLAGS = {0x01: "F", 0x02: "S", 0x04: "R", 0x08: "P", 0x10: "A"}


def is_denied(oracle: Oracle, delivery: Delivery) -> bool:
    """Whether a service takes the datagram that a socket read, and drops it from the denied side."""
    packet = as_packet(delivery.dest, delivery.protocol, delivery.hop_limit, delivery.data)
    return _verdict(oracle, packet) == "drop"


def passes(oracle: Oracle, frame: bytes) -> bool:
    """Whether no service would drop a frame from the denied side, and nothing in it is unreadable."""
    packet = from_frame(frame)
    return packet is not None and _verdict(oracle, packet) == "accept"


@functools.lru_cache(maxsize=100_000)
def _verdict(oracle: Oracle, packet: Packet) -> str:
    return judge(oracle, packet).verdict


def as_packet(dest: str, protocol: int, hop_limit: int, data: bytes) -> Packet:
    """Return a packet of the oracle from the denied side that shows what these bytes behind its headers show."""
    authentication, kept = None, None
    if protocol == AUTHENTICATION:
        # A header cut before its length byte counts as cut, like one cut behind it.
        protocol, authentication = (data[0], data[1]) if len(data) > 1 else (TCP, 0)
        kept = len(data)
        data = data[4 * authentication + 8 :]
    cut = len(data) if len(data) < _WHOLE else None
    data = data.ljust(_WHOLE, b"\0")
    return Packet(
        SAMPLE[DENIED][6 if ":" in dest else 4],
        dest,
        protocol,
        sport=int.from_bytes(data[:2], "big") if protocol in {TCP, UDP} else 0,
        dport=int.from_bytes(data[2:4], "big") if protocol in {TCP, UDP} else 0,
        flags="".join(name for bit, name in _FLAGS.items() if data[13] & bit) if protocol == TCP else "",
        icmp_type=data[0] if protocol in {ICMP, ICMPV6} else 0,
        hop_limit=hop_limit,
        authentication=authentication,
        cut=cut if protocol in {TCP, UDP, ICMP, ICMPV6} else None,
        kept=kept,
    )


def from_frame(frame: bytes) -> Packet | None:
    """Return a packet that the oracle judges like this frame; None: it is unreadable, to one engine if not to both.

    The bytes are read by a second implementation of the rules for what can be read.
    """
    packet = untagged(frame)[2:]
    family = {ETH_P_IP: 4, ETH_P_IPV6: 6}.get(int.from_bytes(untagged(frame)[:2], "big"))
    if family is None or len(packet) < _SHORTEST[family] or packet[0] >> 4 != family:
        return None
    if is_behind_too_many_tags([frame]) or is_hollow([frame]):
        return None
    return _from_ipv4(packet) if family == 4 else _from_ipv6(packet)


def _from_ipv4(packet: bytes) -> Packet:
    start, length = 4 * (packet[0] & 15), int.from_bytes(packet[2:4], "big")
    dest, protocol, data = text(packet[16:20]), packet[9], packet[start : length or None]
    if int.from_bytes(packet[6:8], "big") & 0x1FFF:
        return _later_fragment(dest, protocol, packet[8])
    return as_packet(dest, protocol, packet[8], data)


def _from_ipv6(packet: bytes) -> Packet | None:
    length, following, at = int.from_bytes(packet[4:6], "big"), packet[6], 0
    before: list[int] = []
    dest, data = text(packet[24:40]), packet[40 : 40 + length if length else None]
    while following in EXTENSION_BYTES:
        header = data[at : at + 8]
        if len(header) < 8:
            return None
        kind, following = following, header[0]
        before.append(kind)
        if kind != FRAGMENT:
            at += 8 * header[1] + 8
            continue
        if int.from_bytes(header[2:4], "big") & 0xFFF8:
            return _later_fragment(dest, following, packet[7])
        if before.count(FRAGMENT) == 1 and before not in ([FRAGMENT], [HOP_BY_HOP, FRAGMENT]):
            return None
        at += 8
    return as_packet(dest, following, packet[7], data[at:])


def _later_fragment(dest: str, protocol: int, hop_limit: int) -> Packet:
    source = SAMPLE[DENIED][6 if ":" in dest else 4]
    return Packet(source, dest, protocol, hop_limit=hop_limit, fragment=(8, True))
