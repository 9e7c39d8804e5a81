# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

import pytest

from geodrop.engine import control_traffic
from geodrop.errors import DataError
from geodrop.nftables import lookups, matches, taken, text
from geodrop.nftables.lookups import Shard
from geodrop.nftables.model import Content, Rule
from geodrop.nftables.netlink.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    Bitwise,
    Cmp,
    Expression,
    MetaLoad,
    NamedCounter,
    Other,
    Payload,
    Reject,
    VerdictMap,
    goto,
    jump,
)
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, MetaKey, PayloadBase, RejectType
from geodrop.nftables.transport import VISIBLE, Transport, neither, protects_transport
from geodrop.ruleset.model import Embedding
from tests.support.rulesets import Service, ruleset


def written(*expressions: Expression, comment: str = "") -> str:
    """Write a rule of these expressions."""
    return text.rule(Rule(expressions, comment))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (matches.interface("eth0"), 'iifname "eth0"'),
        (matches.interface("eth*"), 'iifname "eth*"'),
        (matches.family(6), "meta nfproto ipv6"),
        (matches.later_fragment(4), "meta nfproto ipv4 ip frag-off & 8191 != 0"),
        (matches.later_fragment(6), "meta nfproto ipv6 frag frag-off != 0"),
        (matches.before(1_720_483_200), "meta time < 1720483200"),
        (VISIBLE.protocols([58, 1]), "meta l4proto { 1, 58 }"),
        (VISIBLE.destination_ports([6], [(443, 443)]), "meta l4proto 6 th dport 443"),
        (
            VISIBLE.destination_ports([6, 17], [(53, 53), (8000, 8099)]),
            "meta l4proto { 6, 17 } th dport { 53, 8000-8099 }",
        ),
        (VISIBLE.destination_ports([6], [(8000, 8099)]), "meta l4proto 6 th dport 8000-8099"),
        (VISIBLE.dhcp(4, 68, 67), "meta nfproto ipv4 meta l4proto 17 th sport 68 th dport 67"),
        (VISIBLE.icmp_errors(), "meta nfproto ipv4 meta l4proto 1 icmp type { 3, 11, 12 }"),
        (VISIBLE.icmpv6_errors(), "meta nfproto ipv6 meta l4proto 58 icmpv6 type 1-4"),
        (
            VISIBLE.neighbour_discovery(),
            "meta nfproto ipv6 meta l4proto 58 icmpv6 type 133-137 ip6 hoplimit 255",
        ),
        (
            protects_transport(),
            "meta l4proto 51 ah nexthdr { 1-42, 45-50, 52-59, 61-255 }",
        ),
        (Transport(4).destination_ports([6], [(443, 443)]), "@th,0,8 6 @th,8,8 4 @th,208,16 443"),
        (Transport(4).shows_ports(), "@th,8,8 4 @th,208,16 >= 0"),
        (neither([51, 6]), "meta l4proto != 51 meta l4proto != 6"),
        (*VISIBLE.no_openings(), "meta l4proto 6 tcp flags & (syn | ack) != syn"),
    ],
    ids=str,
)
def test_selectors(selector: tuple[Expression, ...], expected: str) -> None:
    """Each selector is written as an nft user would write it."""
    assert written(*selector) == expected


def test_local_addresses() -> None:
    """A prefix, a single address and several of them can be written."""
    [spec] = ruleset(Service("api", addresses=("192.0.2.0/28", "192.0.2.77/32", "2001:db8::/32"))).meta.services
    assert [written(*selector) for selector in taken.of_service(spec)] == [
        "meta nfproto ipv4 ip daddr { 192.0.2.0-192.0.2.15, 192.0.2.77 }",
        "meta nfproto ipv6 ip6 daddr & ffff:ffff:: == 2001:db8::",
    ]
    [single] = ruleset(Service("api", addresses=("192.0.2.77/32",))).meta.services
    assert written(*taken.of_service(single)[0]) == "meta nfproto ipv4 ip daddr 192.0.2.77"


def test_fragments_of_a_protocol() -> None:
    """The fragment header names the protocol."""
    [spec] = ruleset(Service("api", protocols=(control_traffic.UDP,))).meta.services
    _, ipv6 = taken.of_later_fragments(spec)
    assert written(*ipv6) == "meta nfproto ipv6 frag nexthdr 17"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (ACCEPT, "accept"),
        (DROP, "drop"),
        (RETURN, "return"),
        (goto("g0-api.CN.ipv4"), "goto g0-api.CN.ipv4"),
        (jump("g0-api"), "jump g0-api"),
        (RESET, "reject with tcp reset"),
        (PROHIBITED, "reject with icmpx type admin-prohibited"),
    ],
    ids=str,
)
def test_ends(end: Expression, expected: str) -> None:
    """The verdict stands behind the counter and before the comment."""
    assert written(NamedCounter("api.CN.ipv4.dropped"), end, comment="a, b") == (
        f'counter name "api.CN.ipv4.dropped" {expected} comment "a, b"'
    )


def test_other_payload_is_written_raw() -> None:
    """Other payload is written by base, offset and length in bits, which stock nft reads."""
    first = Payload(PayloadBase.TRANSPORT, 0, 1)
    assert written(first, Cmp(CmpOp.EQ, b"\x03")) == "@th,0,8 3"
    assert written(first, Bitwise(b"\x0f", b"\x01"), Cmp(CmpOp.GT, b"\x03")) == "@th,0,8 & 15 ^ 1 > 3"


@pytest.mark.parametrize(
    ("embedding", "expected"),
    [
        (Embedding.SIXTOFOUR, "@nh,80,32 vmap @m"),
        (Embedding.NAT64, "@nh,160,32 vmap @m"),
        (Embedding.MAPPED, "@nh,160,32 vmap @m"),
        (Embedding.TEREDO, "@nh,160,32 ^ 4294967295 vmap @m"),
    ],
)
def test_addresses_inside_ipv6(embedding: Embedding, expected: str) -> None:
    """Such an address is raw bytes in the packet and a number in the map."""
    [rule] = lookups.embedded_rules(embedding, [Shard("m")])
    assert text.rule(rule) == expected


def test_parts_of_a_map_inside_ipv6() -> None:
    """A Teredo packet holds the complement of the address, so its range is complemented too."""
    shard = Shard("m.1", (bytes([1, 0, 0, 0]), bytes([1, 255, 255, 255])))
    [nat64] = lookups.embedded_rules(Embedding.NAT64, [shard])
    assert text.rule(nat64) == "@nh,160,32 16777216-33554431 @nh,160,32 vmap @m.1"
    [teredo] = lookups.embedded_rules(Embedding.TEREDO, [shard])
    assert text.rule(teredo) == "@nh,160,32 4261412864-4278190079 @nh,160,32 ^ 4294967295 vmap @m.1"


def test_lookups_of_addresses() -> None:
    """The source address on the wire is written by its nft name."""
    [rule] = lookups.rules(matches.family(4), matches.SOURCE[4], [Shard("m")])
    assert text.rule(rule) == "meta nfproto ipv4 ip saddr vmap @m"


def content(width: int, *intervals: tuple[int, int]) -> Content:
    """Make intervals from first and last addresses."""
    size = 1 << 8 * width
    return Content(
        width,
        memoryview(b"".join(first.to_bytes(width, "big") for first, _ in intervals)),
        memoryview(b"".join(((last + 1) % size).to_bytes(width, "big") for _, last in intervals)),
        memoryview(struct.pack(f"={len(intervals)}H", *[0] * len(intervals))).cast("H"),
        (goto("g0-api.CN.ipv4"),),
    )


def test_elements() -> None:
    """Ranges and single addresses are written, at both ends of the family too."""
    ipv4 = content(4, (0, 255), (1 << 24, 1 << 24), (0xFFFF_FF00, 0xFFFF_FFFF))
    to = ": goto g0-api.CN.ipv4,"
    assert "".join(text.elements(ipv4, KeyType.IPV4_ADDR)).splitlines() == [
        f"0.0.0.0-0.0.0.255 {to}",
        f"1.0.0.0 {to}",
        f"255.255.255.0-255.255.255.255 {to}",
    ]
    assert "".join(text.elements(ipv4, KeyType.INTEGER)).splitlines() == [
        f"0-255 {to}",
        f"16777216 {to}",
        f"4294967040-4294967295 {to}",
    ]
    ipv6 = content(16, (1 << 125, (1 << 125) + 7))
    assert "".join(text.elements(ipv6, KeyType.IPV6_ADDR)) == f"2000::-2000::7 {to}\n"


def test_elements_come_in_pieces() -> None:
    """Pieces stay small, however large the map is."""
    pieces = list(text.elements(content(4, *((2 * n, 2 * n) for n in range(2500))), KeyType.IPV4_ADDR))
    assert [piece.count("\n") for piece in pieces] == [1000, 1000, 500]


@pytest.mark.parametrize("name", ["", "1a", "a b", 'a"', "a;b", "a\nb", "a{", "@a", "ä", "a" * 256, "$a", "-a"])
def test_names_are_checked(name: str) -> None:
    """Names from a damaged ruleset never reach nft."""
    for given in (NamedCounter(name), goto(name), VerdictMap(name)):
        with pytest.raises(DataError):
            written(*matches.family(4), given)


@pytest.mark.parametrize("words", ['say "hi"', "a\nb", "back\\slash", "a$b", "{", "x" * 129])
def test_comments_are_checked(words: str) -> None:
    """A comment cannot end early and continue as nft text."""
    with pytest.raises(DataError):
        written(ACCEPT, comment=words)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        *((name, True) for name in ("eth0", "eth*", "br-lan", "eth0.100", "a@b", "x" * 15, "x" * 15 + "*")),
        *((name, False) for name in ("", "*", "e*h", "eth**", 'e"', "a b", "a\n", "x" * 16, "e\\*", "${x}", "été")),
    ],
)
def test_interface_names_are_checked(name: str, good: bool) -> None:  # noqa: FBT001 - a case's outcome
    """An interface name has letters, digits and a few signs, and at most one star, at the end."""
    assert text.is_interface(name) is good


def test_an_interface_that_cannot_be_written() -> None:
    """A bad interface name is refused even if nothing checked it before."""
    with pytest.raises(DataError, match="cannot be the name of an interface"):
        written(MetaLoad(MetaKey.IIFNAME), Cmp(CmpOp.EQ, b'x"'))


def test_what_has_no_text() -> None:
    """An expression without nft text is an error, never half a rule."""
    for expression in (Other("notrack", b""), Reject(RejectType.ICMP_UNREACH), Cmp(CmpOp.EQ, b"\0")):
        with pytest.raises(ValueError, match="no text for"):
            written(expression)
