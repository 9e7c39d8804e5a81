# SPDX-License-Identifier: Apache-2.0
"""Default routes in each form the kernel knows: their interfaces are judged without being named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.emulated import DROPPED, IPV6, UNJUDGED

if TYPE_CHECKING:
    from tests.support.emulated import Host

WAYS = {
    "a nexthop object": (
        "nexthop add id 1 via 198.18.0.2 dev wan0",
        "route add default nhid 1",
    ),
    "a group of nexthop objects": (
        "nexthop add id 1 via 198.18.0.2 dev wan0",
        "nexthop add id 2 via 198.18.1.2 dev wan1",
        "nexthop add id 10 group 1/2",
        "route add default nhid 10",
    ),
    "a table that a rule leads to": (
        "route add default via 198.18.0.2 table 100",
        "rule add fwmark 1 table 100",
    ),
    "a nexthop object of IPv6, in a table": (
        "-6 nexthop add id 3 via fd00::2 dev wan0",
        "-6 route add default nhid 3 table 100",
        "-6 rule add from fd00::1 table 100",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_default_route(host: Host, way: str) -> None:
    """Packets of both families are dropped there; a later uplink is reported as a problem until the next load.

    Routes name only their nexthop object, as on hosts with net.ipv4.nexthop_compat_mode off.
    """
    host.netns.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/nexthop_compat_mode")
    pairs = [host.uplink(number) for number in (0, 1)]
    host.local()
    for number in (0, 1):
        host.ip(f"address add 198.18.{number}.1/24 dev wan{number}")
    host.ip("-6 address add fd00::1/64 dev wan0 nodad")
    assert host.select() == ()
    host.ip(*WAYS[way])
    led = ("wan0", "wan1") if "group" in way else ("wan0",)
    assert host.select() == led
    host.arrange("nftables")
    for number, pair in enumerate(pairs):
        expected = DROPPED if f"wan{number}" in led else UNJUDGED
        assert host.meet(pair) == host.meet(pair, IPV6) == expected, pair
    assert host.coverage().problems == ()
    if "wan1" not in led:
        host.ip("nexthop add id 7 via 198.18.1.2 dev wan1", "route add default nhid 7 table 200")
        [problem] = host.coverage().problems
        assert problem.startswith("interface wan1, default route in table 200, is up, but no engine judges")


def test_a_dummy(host: Host) -> None:
    """A tunnel has no Ethernet end: with a default route, as VPN daemons and routers set, it is still no uplink."""
    host.ip("link add dummy7 type dummy", "link set dummy7 up", "route add default dev dummy7")
    assert host.select() == ()
    host.uplink()
    host.local()
    host.ip("address add 198.18.0.1/24 dev wan0", "route add default via 198.18.0.2 table 100")
    host.arrange("nftables")
    assert host.coverage().judged == ("eth0", "wan0")
    assert host.coverage().problems == ()
