from __future__ import annotations

import operator
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.dataplane.nftables import selectors, uapi
from geodrop.dataplane.nftables.expressions import Bitwise, Cmp, ExtensionHeader, Meta, OneOf, Payload
from geodrop.dataplane.nftables.uapi import CmpOp, MetaKey, PayloadBase
from geodrop.ruleset.model import ServiceSpec

if TYPE_CHECKING:
    from geodrop.dataplane.nftables.expressions import Expression

TCP, UDP = 6, 17
ports = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 200)).map(lambda pair: (pair[0], min(sum(pair), 0xFFFF))),
    max_size=5,
)


COMPARE = {
    CmpOp.EQ: operator.eq,
    CmpOp.NEQ: operator.ne,
    CmpOp.LT: operator.lt,
    CmpOp.LTE: operator.le,
    CmpOp.GTE: operator.ge,
}


def spec(**match: object) -> ServiceSpec:
    """A service that takes what is given."""
    given_or_none: dict[str, object] = {"tcp": (), "udp": (), "protocols": (), "addresses": (), **match}
    fixed = {"name": "api", "mode": "enforce", "starts": None, "established": "cut", "catch_all": not match}
    return ServiceSpec(**fixed, **given_or_none)  # type: ignore[arg-type]


def applies(selector: tuple[Expression, ...], known: dict[Expression, bytes]) -> bool:
    """Run a selector on what can be loaded; anything else breaks it, as in the kernel."""
    loaded = b""
    for part in selector:
        match part:
            case Bitwise(mask, xor):
                loaded = bytes((a & b) ^ c for a, b, c in zip(loaded, mask, xor, strict=True))
            case Cmp(op, value) if not COMPARE[op](loaded, value):
                return False
            case OneOf(choice) if not any(a <= int.from_bytes(loaded, "big") <= b for a, b in choice.ranges):
                return False
            case Meta() | Payload():
                if part not in known:
                    return False
                loaded = known[part]
            case _:
                pass
    return True


def packet(protocol: int, dport: int, destination: str = "192.0.2.1") -> dict[Expression, bytes]:
    """What a packet lets rules load."""
    address = ip_address(destination)
    family = uapi.NFPROTO_IPV4 if address.version == 4 else uapi.NFPROTO_IPV6
    return {
        Meta(MetaKey.NFPROTO): bytes([family]),
        Meta(MetaKey.L4PROTO): bytes([protocol]),
        Payload(PayloadBase.TRANSPORT, 2, 2): dport.to_bytes(2, "big"),
        Payload(PayloadBase.NETWORK, 16 if address.version == 4 else 24, len(address.packed)): address.packed,
    }


@pytest.mark.parametrize("name", ["eth0", "eth*", "*", "a23456789012345", "ü0"])
def test_interfaces_come_back(name: str) -> None:
    """`observe` reads them from the base chain's rules."""
    assert selectors.interface_name(selectors.interface(name)) == name


def test_wildcards_compare_the_beginning_only() -> None:
    """And a name without one compares to its end, so that eth1 is not eth10."""
    assert selectors.interface("eth*")[1] == Cmp(CmpOp.EQ, b"eth")
    assert selectors.interface("eth1")[1] == Cmp(CmpOp.EQ, b"eth1".ljust(16, b"\0"))


def test_other_selectors_name_no_interface() -> None:
    """A rule somebody put into the base chain."""
    assert selectors.interface_name(selectors.family(4)) is None
    assert selectors.interface_name(selectors.of_kinds(["veth"])) is None


@given(ports, ports, st.sampled_from([TCP, UDP, 1]), st.integers(0, 0xFFFF))
def test_a_service_takes_its_ports_once(
    tcp: list[tuple[int, int]], udp: list[tuple[int, int]], protocol: int, dport: int
) -> None:
    """Exactly one selector applies to what it takes, none to anything else."""
    service = spec(tcp=tuple(tcp), udp=tuple(udp), protocols=(1,))
    wanted = protocol == 1 or any(a <= dport <= b for a, b in {TCP: tcp, UDP: udp}[protocol])
    found = [selector for selector in selectors.of_service(service) if applies(selector, packet(protocol, dport))]
    assert len(found) == wanted


def test_a_whole_protocol_beside_some_of_its_ports() -> None:
    """The packet would be counted twice by a service in monitor."""
    service = spec(tcp=((443, 443),), protocols=(TCP,))
    assert len([one for one in selectors.of_service(service) if applies(one, packet(TCP, 443))]) == 1


@given(
    st.lists(
        st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32", "2001:db8::1/128", "::/0"])
    ),
    st.sampled_from(["10.1.2.3", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db9::"]),
)
def test_local_addresses(addresses: list[str], destination: str) -> None:
    """Networks that overlap, of both families, in any order: one selector applies, or none."""
    wanted = any(ip_address(destination) in ip_network(network) for network in addresses)
    service = spec(addresses=tuple(addresses), tcp=((443, 443),))
    found = [one for one in selectors.of_service(service) if applies(one, packet(TCP, 443, destination))]
    assert len(found) == (wanted if addresses else 1)


def test_the_same_by_family() -> None:
    """Each packet that is taken is taken by one selector of its family."""
    for addresses in ((), ("203.0.113.0/28",), ("203.0.113.0/28", "2001:db8::/64")):
        service = spec(tcp=((443, 443),), udp=((443, 443), (500, 600)), addresses=addresses)
        for protocol, port, to in ((TCP, 443, "203.0.113.1"), (UDP, 555, "2001:db8::1"), (UDP, 1, "203.0.113.1")):
            plain = [one for one in selectors.of_service(service) if applies(one, packet(protocol, port, to))]
            found = [
                version
                for version, one in selectors.of_service_by_family(service)
                if applies(one, packet(protocol, port, to))
            ]
            assert found == [ip_address(to).version] * len(plain)


def test_a_catch_all_takes_everything() -> None:
    """By a selector that asks for nothing."""
    assert selectors.of_service(spec()) == [()]
    assert selectors.of_later_fragments(spec()) == [()]


def test_later_fragments_pass_services_with_ports() -> None:
    """Whole protocols and bare addresses can be told without a port."""
    assert selectors.of_later_fragments(spec(tcp=((443, 443),))) == []
    ipv4, ipv6 = selectors.of_later_fragments(spec(tcp=((443, 443),), protocols=(1,)))
    assert ipv4 == (*selectors.family(4), *selectors.protocols([1]))
    assert ipv6 == (*selectors.family(6), ExtensionHeader(44, 0, 1), Cmp(CmpOp.EQ, b"\x01"))
    assert len(selectors.of_later_fragments(spec(addresses=("10.0.0.0/8", "fd00::/8")))) == 2


def test_no_selector_for_later_fragments_reads_a_header() -> None:
    """There is none, and the kernel would read data in its place."""
    service = spec(tcp=((443, 443),), udp=((53, 53),), protocols=(1, 47), addresses=("10.0.0.0/8",))
    for selector in selectors.of_later_fragments(service):
        assert not any(isinstance(part, Payload) and part.base is PayloadBase.TRANSPORT for part in selector)


@pytest.mark.parametrize(
    ("field", "later"), [(0x0000, False), (0x2000, False), (0x4000, False), (0x2008, True), (1, True)]
)
def test_later_fragments_of_ipv4(field: int, *, later: bool) -> None:
    """Neither "more follow" nor "do not fragment" makes one, the offset does."""
    known: dict[Expression, bytes] = {
        Meta(MetaKey.NFPROTO): bytes([uapi.NFPROTO_IPV4]),
        Payload(PayloadBase.NETWORK, 6, 2): field.to_bytes(2, "big"),
    }
    assert applies(selectors.later_fragment(4), known) is later


@pytest.mark.parametrize(
    ("flags", "opening"), [(0x02, True), (0x12, False), (0x10, False), (0x06, True), (0x00, False)]
)
def test_openings(flags: int, *, opening: bool) -> None:
    """SYN without ACK opens, whatever else is set."""
    known: dict[Expression, bytes] = {
        Meta(MetaKey.L4PROTO): bytes([TCP]),
        Payload(PayloadBase.TRANSPORT, 13, 1): bytes([flags]),
    }
    assert applies(selectors.no_opening(), known) is not opening


def test_flags_that_cannot_be_read_are_judged() -> None:
    """A first fragment may stop before them."""
    assert not applies(selectors.no_opening(), {Meta(MetaKey.L4PROTO): bytes([TCP])})


def test_before() -> None:
    """Nanoseconds, ordered as bytes."""
    known: dict[Expression, bytes] = {Meta(MetaKey.TIME_NS): (99 * 10**9).to_bytes(8, "big")}
    assert applies(selectors.before(100), known)
    assert not applies(selectors.before(99), known)


def test_intersection() -> None:
    """The ports that are in both, piece by piece."""
    assert selectors.intersection([(20, 30), (443, 443)], [(22, 22), (25, 500)]) == [(22, 22), (25, 30), (443, 443)]
    assert selectors.intersection([(443, 443)], [(22, 22)]) == []


def test_taken_ranges() -> None:
    """A service without ports takes them all, unless it asks for other protocols."""
    assert selectors.taken_ranges(spec(), TCP) == ((0, 0xFFFF),)
    assert selectors.taken_ranges(spec(protocols=(1,)), TCP) == ()
    assert selectors.taken_ranges(spec(tcp=((443, 443),)), TCP) == ((443, 443),)
    assert selectors.taken_ranges(spec(tcp=((443, 443),)), UDP) == ()
    assert selectors.taken_ranges(spec(tcp=((443, 443),), protocols=(UDP,)), UDP) == ((0, 0xFFFF),)
