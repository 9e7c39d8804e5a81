# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address, ip_network
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geodrop.policy.model import Match, Ports
from geodrop.policy.overlap import common_packets
from tests.unit.policy.policies import service

PORT_PROTOCOLS = {"tcp": 6, "udp": 17}


@pytest.mark.parametrize(
    ("one", "other", "packets"),
    [
        ("ports: {tcp: [443]}", "ports: {tcp: [400-500]}", "tcp/443"),
        ("ports: {tcp: [443]}", "ports: {udp: [443]}", None),
        ("ports: {tcp: [443]}", "ports: {tcp: [80, 444]}", None),
        ("ports: {udp: [53]}", "protocols: [udp]", "udp/53"),
        ("ports: {tcp: [443]}", "protocols: [udp, icmp]", None),
        ("protocols: [icmp]", "protocols: [icmpv6]", "protocol 58"),
        ("protocols: [gre]", "protocols: [47]", "protocol 47"),
        ("ports: {tcp: [443]}", "addresses: [9.9.9.0/24]", "tcp/443 to 9.9.9.0/24"),
        ("protocols: [esp]", "addresses: [9.9.9.0/24]", "protocol 50 to 9.9.9.0/24"),
        ("addresses: [9.9.9.9]", "addresses: [9.9.0.0/16]", "every packet to 9.9.9.9/32"),
        ("addresses: [9.9.9.9]", "addresses: [8.8.8.8, '2a00::/16']", None),
        (
            "{addresses: [1.1.1.1, '2a00::1'], ports: {tcp: [443]}}",
            "{addresses: [9.9.9.9, '2a00::/16'], ports: {tcp: [443]}}",
            "tcp/443 to 2a00::1/128",
        ),
        ("{addresses: [1.1.1.1], ports: {tcp: [80]}}", "{addresses: [1.1.1.1], ports: {tcp: [81]}}", None),
        ("{}", "{}", "every packet that no other service takes"),
        ("{}", "ports: {tcp: [443]}", None),
    ],
)
def test_common_packets(one: str, other: str, packets: str | None) -> None:
    """Two services overlap if addresses, protocols and ports all overlap; their order does not matter."""
    first, second = (service(f"match: {text if text[0] == '{' else f'{{{text}}}'}").match for text in (one, other))
    assert common_packets(first, second) == packets
    assert common_packets(second, first) == packets


def takes(match: Match, protocol: int, port: int, address: str) -> bool:
    """Return whether a service with this match takes a packet, as docs/policy.md defines it."""
    if match.addresses and not any(ip_address(address) in network for network in match.addresses):
        return False
    if not match.ports and not match.protocols:
        return True
    ranges = {6: match.ports.tcp, 17: match.ports.udp}.get(protocol, ())
    return protocol in match.protocols or any(low <= port <= high for low, high in ranges)


RANGES = st.lists(st.sampled_from([(1, 1), (2, 3), (3, 3), (5, 5)]), max_size=2, unique=True)
MATCHES = st.builds(
    Match,
    ports=st.builds(
        Ports,
        tcp=RANGES.map(lambda found: ((1, 1), (3, 3)) if len(found) == 2 else tuple(found)),
        udp=RANGES.map(lambda found: tuple(found[:1])),
    ),
    protocols=st.sets(st.sampled_from([1, 6, 17])).map(lambda found: tuple(sorted(found))),
    addresses=st.sampled_from([(), ("9.9.9.0/31",), ("9.9.9.1/32",), ("9.9.9.2/32", "2a00::/128")]).map(
        lambda found: tuple(ip_network(text) for text in found)
    ),
)


@given(MATCHES, MATCHES)
def test_against_every_packet(one: Match, other: Match) -> None:
    """The answer equals that of trying all packets of a small world."""
    assume(not one.catch_all and not other.catch_all)
    packets = [
        (protocol, port, address)
        for protocol in (1, 6, 17, 50)
        for port in range(7)
        for address in ("9.9.9.0", "9.9.9.1", "9.9.9.2", "2a00::", "8.8.8.8")
    ]
    meet = any(takes(one, *packet) and takes(other, *packet) for packet in packets)
    assert bool(common_packets(one, other)) == meet


def test_disjoint_address_lists_of_any_order_of_ends() -> None:
    """Walking two sorted lists in parallel misses no pair."""
    networks = [
        ip_network(text) for text in ("1.0.0.0/8", "2.0.0.0/16", "2.1.0.0/16", "9.9.9.9", "2a00::/16", "2b00::")
    ]
    for one, other in combinations(range(1, 1 << len(networks)), 2):
        sides = [tuple(n for at, n in enumerate(networks) if mask >> at & 1) for mask in (one, other)]
        found = common_packets(*(Match(Ports(), addresses=side) for side in sides))
        assert bool(found) == bool(one & other)
