from __future__ import annotations

from geodrop.dataplane import control
from tests.oracle import packet


def test_rung_2_is_what_the_oracle_says() -> None:
    """The oracle writes the same RFCs down on its own."""
    assert set(control.ICMP_ERRORS) == packet.ICMP_ERRORS[packet.ICMP]
    first, last = control.ICMPV6_ERRORS
    assert set(range(first, last + 1)) == packet.ICMP_ERRORS[packet.ICMPV6]
    first, last = control.NEIGHBOUR_DISCOVERY
    assert set(range(first, last + 1)) == packet.NEIGHBOUR_DISCOVERY
    assert {family: set(pairs) for family, pairs in control.DHCP_PORTS.items()} == packet.DHCP_PORTS
    assert (control.TCP, control.UDP, control.ICMP, control.ICMPV6) == (6, 17, packet.ICMP, packet.ICMPV6)
