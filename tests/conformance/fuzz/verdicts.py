"""What the oracle says of a delivery: the datagram as the stack put it together, judged as one ordinary packet."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tests.conformance.fuzz.sides import DENIED, SAMPLE
from tests.oracle.packet import AUTHENTICATION, ICMP, ICMPV6, TCP, UDP, Packet, judge

if TYPE_CHECKING:
    from tests.conformance.fuzz.ears import Delivery
    from tests.oracle.ladder import Oracle

_WHOLE = 20
"""Of a transport header with so many bytes every field is there that a verdict depends on."""

_FLAGS = {0x01: "F", 0x02: "S", 0x04: "R", 0x08: "P", 0x10: "A"}


def is_denied(oracle: Oracle, delivery: Delivery) -> bool:
    """Whether a service takes it, and drops it from the denied side."""
    return _is_denied(oracle, as_packet(delivery))


@functools.lru_cache(maxsize=100_000)
def _is_denied(oracle: Oracle, packet: Packet) -> bool:
    return judge(oracle, packet).verdict == "drop"


def as_packet(delivery: Delivery) -> Packet:
    """The datagram as a packet of the oracle's, from the denied side."""
    data, protocol, authentication, kept = delivery.data, delivery.protocol, None, None
    if protocol == AUTHENTICATION:
        # Cut before its length can be read is as cut off as cut behind it.
        protocol, authentication = (data[0], data[1]) if len(data) > 1 else (TCP, 0)
        kept = len(data)
        data = data[4 * authentication + 8 :]
    cut = len(data) if len(data) < _WHOLE else None
    data = data.ljust(_WHOLE, b"\0")
    return Packet(
        SAMPLE[DENIED][6 if ":" in delivery.dest else 4],
        delivery.dest,
        protocol,
        sport=int.from_bytes(data[:2], "big") if protocol in {TCP, UDP} else 0,
        dport=int.from_bytes(data[2:4], "big") if protocol in {TCP, UDP} else 0,
        flags="".join(name for bit, name in _FLAGS.items() if data[13] & bit) if protocol == TCP else "",
        icmp_type=data[0] if protocol in {ICMP, ICMPV6} else 0,
        hop_limit=delivery.hop_limit,
        authentication=authentication,
        cut=cut if protocol in {TCP, UDP, ICMP, ICMPV6} else None,
        kept=kept,
    )
