# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from geodrop.engine import control_traffic
from tests.oracle import packet


def test_rung_2_is_what_the_oracle_says() -> None:
    """The oracle states the same RFCs independently."""
    assert set(control_traffic.ICMP_ERRORS) == packet.ICMP_ERRORS[packet.ICMP]
    first, last = control_traffic.ICMPV6_ERRORS
    assert set(range(first, last + 1)) == packet.ICMP_ERRORS[packet.ICMPV6]
    first, last = control_traffic.NEIGHBOUR_DISCOVERY
    assert set(range(first, last + 1)) == packet.NEIGHBOUR_DISCOVERY
    assert {family: set(pairs) for family, pairs in control_traffic.DHCP_PORTS.items()} == packet.DHCP_PORTS
    assert (control_traffic.TCP, control_traffic.UDP, control_traffic.ICMP, control_traffic.ICMPV6) == (
        6,
        17,
        packet.ICMP,
        packet.ICMPV6,
    )
