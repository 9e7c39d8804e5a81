# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_network

from geodrop.engine.exempt import ExemptSource
from geodrop.nftables import exempt, names
from geodrop.nftables.netlink.timed import TimedInterval

SECOND = 1_000_000_000


def test_elements_of_both_families() -> None:
    """Each has the milliseconds that are left; what is over has none."""
    sources = [
        ExemptSource(ip_network("1.2.3.0/24"), 15 * SECOND),
        ExemptSource(ip_network("2400::/32"), 25 * SECOND),
        ExemptSource(ip_network("9.9.9.9"), 10 * SECOND),
    ]
    assert exempt.intervals(sources, 10 * SECOND) == {
        names.EXEMPT[4]: [TimedInterval(0x01020300, 0x010203FF, 5_000)],
        names.EXEMPT[6]: [TimedInterval(0x2400 << 112, (0x2400 << 112) + (1 << 96) - 1, 15_000)],
    }
