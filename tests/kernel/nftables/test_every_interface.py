# SPDX-License-Identifier: Apache-2.0
"""The name `*`: every interface except those that are judged only if they are named; future interfaces too."""

from collections.abc import Iterator

import pytest

from geodrop.engine.api import Interface
from geodrop.engine.interfaces import VIRTUAL
from geodrop.nftables.engine import NftablesEngine
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, mac_address, namespaces
from tests.support.rulesets import Service, ruleset

RULES = ruleset(Service("api", {"1.0.1.0/24": "CN"}, tcp=((443, 443),)))
PACKET = encode(Packet(source="1.0.1.1", dest="192.0.2.1", dport=443), 1)


@pytest.fixture
def ends(kernel: None) -> Iterator[tuple[End, End]]:
    """Yield a veth pair; the judged end also carries a macvlan, a kind that `*` includes."""
    del kernel
    with namespaces("net", "host") as [net, host]:
        yield End(net, "net0", ["192.0.2.2/24"]), End(host, "eth0", ["192.0.2.1/24"])


def dropped(engine: NftablesEngine) -> int:
    """Return the packets dropped so far."""
    return sum(count.dropped[0] for count in engine.counters())


def test_in_force_before_any_interface(ends: tuple[End, End]) -> None:
    """Loaded with loopback only; a veth that is added is not judged, a macvlan on it is judged at once."""
    outside, inside = ends
    engine = NftablesEngine()
    with inside.namespace.entered():
        engine.apply(RULES, 1, ["*"])
        assert engine.observe().interfaces == (Interface("*", "nftables"),)
        assert engine.verify(RULES) == []
        join(outside, inside)
        with PacketSender(outside, inside) as sender:
            sender.send([PACKET] * 3)
        assert dropped(engine) == 0
        inside.namespace.run("ip", "link", "add", "link", "eth0", "name", "lan0", "type", "macvlan")
        inside.namespace.run("ip", "link", "set", "lan0", "up")
        lan = End(inside.namespace, "lan0")
        assert mac_address(lan) != mac_address(inside)
        with PacketSender(outside, lan) as sender:
            sender.send([PACKET] * 3)
        assert dropped(engine) == 3


def test_what_is_named_is_judged_whatever_it_is(ends: tuple[End, End]) -> None:
    """A name beside `*` comes first, so that a veth can be judged."""
    outside, inside = ends
    engine = NftablesEngine()
    with inside.namespace.entered():
        engine.apply(RULES, 1, ["*", "eth0"])
        assert [interface.name for interface in engine.observe().interfaces] == ["eth0", "*"]
        assert engine.verify(RULES) == []
        join(outside, inside)
        with PacketSender(outside, inside) as sender:
            sender.send([PACKET] * 3)
        assert dropped(engine) == 3


def test_stock_nft_lists_it(ends: tuple[End, End]) -> None:
    """Kinds are listed by name, with loopback before the rule for all other interfaces; a listing as JSON works too."""
    _, inside = ends
    with inside.namespace.entered():
        NftablesEngine().apply(RULES, 7, ["*"])
    listing = inside.namespace.run("nft", "list", "chain", "inet", "geodrop", "prerouting")
    rules = [line.strip() for line in listing.splitlines() if "comment" in line][1:]
    assert rules[0] == 'iifname "lo" accept comment "only judged if it is named"'
    assert rules[1].startswith("meta iifkind { ")
    kinds = set(rules[1].partition("{ ")[2].partition(" }")[0].replace('"', "").split(", "))
    assert kinds == VIRTUAL
    assert rules[2] == 'goto g7 comment "interface 1 of 1"'
    assert inside.namespace.run("nft", "--json", "list", "table", "inet", "geodrop")


def test_a_removed_kind_shows(ends: tuple[End, End]) -> None:
    """The exclusions are compared like all other rules."""
    _, inside = ends
    engine = NftablesEngine()
    with inside.namespace.entered():
        engine.apply(RULES, 1, ["*"])
        listing = inside.namespace.run("nft", "-a", "list", "chain", "inet", "geodrop", "prerouting")
        handle = listing.partition("iifkind")[2].partition("handle ")[2].split()[0]
        inside.namespace.run("nft", "delete", "rule", "inet", "geodrop", "prerouting", "handle", handle)
        assert engine.verify(RULES)
