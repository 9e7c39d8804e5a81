# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from geodrop.nftables import matches, taken
from geodrop.nftables.netlink.expressions import Cmp, ExtensionHeader, Payload
from geodrop.nftables.netlink.uapi import CmpOp, PayloadBase
from geodrop.nftables.transport import VISIBLE
from tests.support.rules import TCP, UDP, applies, packet, spec

ports = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 200)).map(lambda pair: (pair[0], min(sum(pair), 0xFFFF))),
    max_size=5,
)


@given(ports, ports, st.sampled_from([TCP, UDP, 1]), st.integers(0, 0xFFFF))
def test_a_service_takes_its_ports_once(
    tcp: list[tuple[int, int]], udp: list[tuple[int, int]], protocol: int, dport: int
) -> None:
    """Exactly one selector applies to a packet that the service takes, and none to any other packet."""
    service = spec(tcp=tuple(tcp), udp=tuple(udp), protocols=(1,))
    wanted = protocol == 1 or any(a <= dport <= b for a, b in {TCP: tcp, UDP: udp}[protocol])
    found = [selector for selector in taken.of_service(service) if applies(selector, packet(protocol, dport))]
    assert len(found) == wanted


def test_a_whole_protocol_beside_some_of_its_ports() -> None:
    """Otherwise a service in monitor would count the packet twice."""
    service = spec(tcp=((443, 443),), protocols=(TCP,))
    assert len([one for one in taken.of_service(service) if applies(one, packet(TCP, 443))]) == 1


@given(
    st.lists(
        st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32", "2001:db8::1/128", "::/0"])
    ),
    st.sampled_from(["10.1.2.3", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db9::"]),
)
def test_local_addresses(addresses: list[str], destination: str) -> None:
    """Networks may overlap, in both families and any order: one selector applies, or none."""
    wanted = any(ip_address(destination) in ip_network(network) for network in addresses)
    service = spec(addresses=tuple(addresses), tcp=((443, 443),))
    found = [one for one in taken.of_service(service) if applies(one, packet(TCP, 443, destination))]
    assert len(found) == (wanted if addresses else 1)


def test_the_same_by_family() -> None:
    """Exactly one selector of its family takes each packet that the service takes."""
    for addresses in ((), ("203.0.113.0/28",), ("203.0.113.0/28", "2001:db8::/64")):
        service = spec(tcp=((443, 443),), udp=((443, 443), (500, 600)), addresses=addresses)
        for protocol, port, to in ((TCP, 443, "203.0.113.1"), (UDP, 555, "2001:db8::1"), (UDP, 1, "203.0.113.1")):
            plain = [one for one in taken.of_service(service) if applies(one, packet(protocol, port, to))]
            found = [
                version
                for version, one in taken.of_service_by_family(service)
                if applies(one, packet(protocol, port, to))
            ]
            assert found == [ip_address(to).version] * len(plain)


def test_a_catch_all_takes_everything() -> None:
    """A catch-all has an empty selector."""
    assert taken.of_service(spec()) == [()]
    assert taken.of_later_fragments(spec()) == [()]


def test_later_fragments_pass_services_with_ports() -> None:
    """Whole protocols and local addresses can be checked without a port."""
    assert taken.of_later_fragments(spec(tcp=((443, 443),))) == []
    ipv4, ipv6 = taken.of_later_fragments(spec(tcp=((443, 443),), protocols=(1,)))
    assert ipv4 == (*matches.family(4), *VISIBLE.protocols([1]))
    assert ipv6 == (*matches.family(6), ExtensionHeader(44, 0, 1), Cmp(CmpOp.EQ, b"\x01"))
    assert len(taken.of_later_fragments(spec(addresses=("10.0.0.0/8", "fd00::/8")))) == 2


def test_no_selector_for_later_fragments_reads_a_header() -> None:
    """Later fragments have no header, and the kernel would read data instead."""
    service = spec(tcp=((443, 443),), udp=((53, 53),), protocols=(1, 47), addresses=("10.0.0.0/8",))
    for selector in taken.of_later_fragments(service):
        assert not any(isinstance(part, Payload) and part.base is PayloadBase.TRANSPORT for part in selector)


def test_intersection() -> None:
    """The result holds the ports that are in both, range by range."""
    assert taken.intersection([(20, 30), (443, 443)], [(22, 22), (25, 500)]) == [(22, 22), (25, 30), (443, 443)]
    assert taken.intersection([(443, 443)], [(22, 22)]) == []


def test_taken_ranges() -> None:
    """A service without ports takes all of them, unless it names other protocols."""
    assert taken.taken_ranges(spec(), TCP) == ((0, 0xFFFF),)
    assert taken.taken_ranges(spec(protocols=(1,)), TCP) == ()
    assert taken.taken_ranges(spec(tcp=((443, 443),)), TCP) == ((443, 443),)
    assert taken.taken_ranges(spec(tcp=((443, 443),)), UDP) == ()
    assert taken.taken_ranges(spec(tcp=((443, 443),), protocols=(UDP,)), UDP) == ((0, 0xFFFF),)
