from __future__ import annotations

from geodrop.engine import rung2
from tests.oracle import packet


def test_rung_2_is_what_the_oracle_says() -> None:
    """The oracle writes the same RFCs down on its own."""
    assert set(rung2.ICMP_ERRORS) == packet.ICMP_ERRORS[packet.ICMP]
    first, last = rung2.ICMPV6_ERRORS
    assert set(range(first, last + 1)) == packet.ICMP_ERRORS[packet.ICMPV6]
    first, last = rung2.NEIGHBOUR_DISCOVERY
    assert set(range(first, last + 1)) == packet.NEIGHBOUR_DISCOVERY
    assert {family: set(pairs) for family, pairs in rung2.DHCP_PORTS.items()} == packet.DHCP_PORTS
    assert (rung2.TCP, rung2.UDP, rung2.ICMP, rung2.ICMPV6) == (6, 17, packet.ICMP, packet.ICMPV6)
