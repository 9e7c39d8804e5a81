# SPDX-License-Identifier: Apache-2.0
"""Exempt sources in the kernel's sets: what is put there, what expires, what another program does to it."""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.exempt import ExemptSource
from geodrop.nftables.engine import NftablesEngine
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, Namespace, PacketSender, join, namespaces
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = ruleset(Service("api", {"1.0.1.0/24": "CN", "240e::/20": "CN", "2002::/16": "6to4"}, tcp=((443, 443),)))
DEADLINE = 30


def passing(*pairs: tuple[str, float]) -> list[ExemptSource]:
    """Return sources, each with the seconds from now for which it passes."""
    now = time.monotonic_ns()
    return [ExemptSource(ip_network(text), now + int(seconds * 1e9)) for text, seconds in pairs]


def verdicts(engine: NftablesEngine, *addresses: str) -> list[str]:
    """Return what the kernel's tables say of addresses."""
    return [answer.verdict for [answer] in engine.judge(RULES, addresses)]


def test_a_change_leaves_the_rest_alone(netns: Namespace) -> None:
    """Elements that stay keep their counts, and so does a network that another one cuts in two."""
    engine = NftablesEngine()
    engine.apply(RULES, 1, ["eth0"])
    known = passing(("1.0.0.0/16", 600), ("240e::/32", 600))
    engine.put_exempt(known)
    assert engine.verify_exempt(known) == []
    netns.run("nft", "add element inet geodrop exempt-ipv4 { 9.9.9.9 counter packets 5 bytes 300 timeout 10m }")
    known += passing(("9.9.9.9", 600))
    engine.put_exempt(known)
    more = [*known, *passing(("1.0.1.7", 900))]
    engine.put_exempt(more)
    assert engine.verify_exempt(more) == []
    assert engine.exempt_totals(more)[ip_network("9.9.9.9")] == (5, 300)
    assert verdicts(engine, "1.0.1.6", "1.0.1.7", "240e:0:1::") == ["accept"] * 3
    engine.put_exempt([])
    assert verdicts(engine, "1.0.1.6", "1.0.1.7", "240e:0:1::") == ["drop"] * 3
    assert engine.verify(RULES) == []


@pytest.mark.parametrize(
    "how", ["flush set inet geodrop exempt-ipv4", "delete element inet geodrop exempt-ipv4 { 1.0.1.7 }"]
)
def test_what_another_program_removes_is_a_difference(netns: Namespace, how: str) -> None:
    """It is put back with the rest of its time; the description of what is loaded tells that something changed."""
    engine = NftablesEngine()
    engine.apply(RULES, 1, ["eth0"])
    known = passing(("1.0.1.7", 600))
    engine.put_exempt(known)
    before = engine.fingerprint()
    netns.run("nft", how)
    assert engine.fingerprint() != before
    [found] = engine.verify_exempt(known)
    assert (found.where, found.found) == ("exempt 1.0.1.7", "not exempt")
    engine.put_exempt(known)
    assert engine.verify_exempt(known) == []
    assert engine.verify(RULES) == []


@pytest.mark.parametrize(("lasting", "told"), [("timeout 1h", "exempt for 3600 s"), ("", "exempt for good")])
def test_what_another_program_adds_is_a_difference(netns: Namespace, lasting: str, told: str) -> None:
    """Nobody else lets a source pass, for a time or for good; nor does anybody make what we let pass last for good."""
    engine = NftablesEngine()
    engine.apply(RULES, 1, ["eth0"])
    netns.run("nft", f"add element inet geodrop exempt-ipv4 {{ 1.0.1.0/24 {lasting} }}")
    assert verdicts(engine, "1.0.1.7") == ["accept"]
    for known in ([], passing(("1.0.1.0/24", 60))):
        [found] = engine.verify_exempt(known)
        assert (found.where, found.found) == ("exempt 1.0.1.0-1.0.1.255", told)
    engine.put_exempt([])
    assert verdicts(engine, "1.0.1.7") == ["drop"]


def test_expired_and_there_again(netns: Namespace) -> None:
    """The kernel removes what is over, which is no difference; the same source can pass once more at once."""
    engine = NftablesEngine()
    engine.apply(RULES, 1, ["eth0"])
    known = passing(("1.0.1.0/24", 1), ("240e::/32", 600))
    engine.put_exempt(known)
    deadline = time.monotonic() + DEADLINE
    while verdicts(engine, "1.0.1.7") == ["accept"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert engine.verify_exempt(known) == []
    assert netns.run("nft", "list", "set", "inet", "geodrop", "exempt-ipv4").count("elements") == 0
    again = passing(("1.0.1.0/24", 600), ("240e::/32", 600))
    engine.put_exempt(again)
    assert engine.verify_exempt(again) == []
    assert verdicts(engine, "1.0.1.7") == ["accept"]


def test_a_new_table_has_them_from_the_start(netns: Namespace) -> None:
    """After a flush of everything, the table that a repair makes lets them pass from its first packet on."""
    known = passing(("1.0.1.7", 600))
    engine = NftablesEngine(exempt=known)
    engine.apply(RULES, 1, ["eth0"])
    assert engine.verify_exempt(known) == []
    netns.run("nft", "flush ruleset")
    engine.apply(RULES, 2, ["eth0"])
    assert engine.verify_exempt(known) == []


def test_a_thousand(netns: Namespace) -> None:
    """The most there can be, and one around them all: in time, and in the messages of the kernel."""
    del netns
    engine = NftablesEngine()
    engine.apply(RULES, 1, ["eth0"])
    known = passing(
        *((f"1.0.{number // 128}.{number % 128 * 2}", 600 + number) for number in range(999)), ("1.0.0.0/16", 60)
    )
    engine.put_exempt(known)
    assert engine.verify_exempt(known) == []
    assert len(engine.exempt_totals(known)) == 1_000


def test_packets_and_counts() -> None:
    """An exempt source passes and counts as exempted, in either family; an address inside IPv6 does not count."""
    with namespaces("sender", "host") as [sender, host]:
        outside, inside = End(sender, "eth0"), End(host, "eth0")
        join(outside, inside)
        with host.entered(), PacketSender(outside, inside) as wire:
            engine = NftablesEngine()
            engine.apply(RULES, 1, ["eth0"])
            known = passing(("1.0.1.7", 600), ("240e::1", 600))
            engine.put_exempt(known)
            wire.send(packets("1.0.1.7", "1.0.1.8", "240e::1", "240e::2", "2002:100:107::1", "9.9.9.9"))
            found = {(one.family, one.label): one for one in engine.counters()}
            assert [found[family, "CN"].dropped[0] for family in ("ipv4", "ipv6")] == [1, 2]
            assert [found[family, None].exempted[0] for family in ("ipv4", "ipv6")] == [1, 1]
            assert [found[family, None].accepted[0] for family in ("ipv4", "ipv6")] == [1, 0]
            assert [packets for packets, _ in engine.exempt_totals(known).values()] == [1, 1]


def packets(*addresses: str) -> Sequence[bytes]:
    """Return a packet to the service from each address."""
    return [
        encode(Packet(source=one, dest="2001:db8::1" if ":" in one else "192.0.2.1", dport=443), number)
        for number, one in enumerate(addresses)
    ]
