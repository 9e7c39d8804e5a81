# SPDX-License-Identifier: Apache-2.0
"""The second map, which counts by region what else counts as `other`; it is added later and decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest

from geodrop.engine.api import Difference, Scope
from geodrop.errors import ApplyError
from geodrop.nftables import diff, overlay, regions
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink.connection import Connection
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, namespaces
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.nftables.netlink.wire import NetlinkRequest
    from geodrop.ruleset.model import Ruleset
    from tests.support.namespaces import Namespace

pytestmark = pytest.mark.root

WEB = ((443, 443),)
DENIED = {"1.0.0.0/8": "other", "9.9.9.0/24": "never-drop else other", "240e::/20": "other", "2002::/16": "6to4"}
COUNTED = {"1.0.1.0/24": "CN", "1.0.2.0/24": "RU", "240e:1::/32": "CN"}
JOINED = ruleset(Service("api", DENIED, tcp=WEB, counted=COUNTED))


@pytest.fixture
def engine(netns: Namespace) -> Iterator[NftablesEngine]:
    """Yield an engine with joined maps in force."""
    with netns.entered():
        made = NftablesEngine()
        made.apply(JOINED, 1, ["eth0"])
        yield made


def chain(netns: Namespace, name: str) -> str:
    """Return the rules of a chain."""
    return netns.run("nft", "list", "chain", "inet", "geodrop", name)


def test_told_apart_once(engine: NftablesEngine, netns: Namespace) -> None:
    """The table verifies before and after; a second time there is nothing to do, and neither for another ruleset."""
    assert engine.verify(JOINED) == []
    assert not engine.count_regions(ruleset(Service("api", DENIED, tcp=WEB)))
    assert engine.count_regions(JOINED)
    assert engine.verify(JOINED) == []
    assert [engine.verify_share(JOINED, part, 2) for part in (0, 1)] == [[], []]
    assert "vmap @g1-api.regions.ipv4" in chain(netns, "g1-api.other.ipv4")
    before = engine.fingerprint()
    assert not engine.count_regions(JOINED)
    assert engine.fingerprint() == before
    [[found]] = engine.judge(JOINED, ["1.0.1.1"])
    assert (found.verdict, found.target) == ("drop", "g1-api.CN.ipv4")
    engine.apply(JOINED, 2, ["eth0"])
    assert "regions" not in chain(netns, "g2-api.other.ipv4")
    assert engine.verify(JOINED) == []


def test_what_others_do_to_it_shows(engine: NftablesEngine, netns: Namespace) -> None:
    """Without the rule, packets count as `other` again; a changed or missing rule of the second map is a difference."""
    engine.count_regions(JOINED)
    netns.nft("flush chain inet geodrop g1-api.RU.ipv4")
    assert {one.where for one in engine.verify(JOINED)} == {f"chain g1-api.RU.ipv4, rule {at}" for at in (1, 2)}
    engine.apply(JOINED, 2, ["eth0"])
    netns.nft("add map inet geodrop g2-api.regions.ipv4 { type ipv4_addr : verdict; flags interval; }")
    assert [(one.where, one.surplus) for one in engine.verify(JOINED)] == [("set g2-api.regions.ipv4", True)]
    assert engine.count_regions(JOINED)
    assert engine.verify(JOINED) == []


@pytest.mark.parametrize("passing", [0, 1])
def test_a_failure_leaves_it_as_it_was(
    engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch, passing: int
) -> None:
    """After a refused fill or switch everything is as before, and it can be tried again."""
    before = netns.run("nft", "--stateless", "list", "table", "inet", "geodrop")
    real, left = Connection.transaction, passing

    def transaction(connection: Connection, requests: Iterable[NetlinkRequest]) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise ApplyError("broken on purpose")
        real(connection, requests)

    monkeypatch.setattr(Connection, "transaction", transaction)
    with pytest.raises(ApplyError, match="broken on purpose"):
        engine.count_regions(JOINED)
    assert netns.run("nft", "--stateless", "list", "table", "inet", "geodrop") == before
    assert engine.verify(JOINED) == []
    assert engine.count_regions(JOINED)


def test_what_differs_when_read_back_is_taken_back(engine: NftablesEngine, netns: Namespace) -> None:
    """A difference found after the switch is undone too."""
    before = netns.run("nft", "--stateless", "list", "table", "inet", "geodrop")
    for module, check in ((diff, "content"), (diff, "generation")):
        said = [Difference("somewhere", "this", "that")]
        with mock.patch.object(module, check, return_value=said), pytest.raises(ApplyError, match="somewhere"):
            engine.count_regions(JOINED)
        assert netns.run("nft", "--stateless", "list", "table", "inet", "geodrop") == before


def test_what_a_killed_process_left_is_replaced(engine: NftablesEngine, netns: Namespace) -> None:
    """A half-filled map does not disturb anything and is not taken for a whole one."""
    killed = mock.patch.object(diff, "content", side_effect=KeyboardInterrupt)
    with mock.patch.object(regions, "_undo"), killed, pytest.raises(KeyboardInterrupt):
        engine.count_regions(JOINED)
    assert "g1-api.regions.ipv4" in netns.run("nft", "-t", "list", "table", "inet", "geodrop")
    assert {one.surplus for one in engine.verify(JOINED)} == {True}
    assert engine.count_regions(JOINED)
    assert engine.verify(JOINED) == []


def test_under_an_overlay(engine: NftablesEngine) -> None:
    """An overlay gets no second map: a whole generation follows it."""
    second = ruleset(Service("api", {**DENIED, "5.0.0.0/8": "other"}, tcp=WEB, counted=COUNTED))
    kept = {one.digest: one for one in (JOINED, second)}

    def load(wanted: Ruleset, generation: int) -> None:
        with engine.staged(wanted, generation, kept.get) as staged:
            staged.switch(Scope(("eth0",)))

    with mock.patch.multiple(overlay, SMALLEST=0, LARGEST=0):
        engine.count_regions(JOINED)
        for generation, wanted in ((2, second), (3, JOINED)):
            load(wanted, generation)
            assert engine.is_overlay()
            assert engine.verify(wanted) == []
            assert not engine.count_regions(wanted)
    load(second, 4)
    assert not engine.is_overlay()
    assert engine.verify(second) == []


def test_totals_only_grow() -> None:
    """No count falls while a region moves from `other` to its own counter and back, and through a flush."""
    with namespaces("net", "host") as [net, host]:
        outside, inside = End(net, "net0", ["192.0.2.2/24"]), End(host, "eth0", ["192.0.2.1/24"])
        join(outside, inside)
        engine = NftablesEngine()
        with host.entered(), PacketSender(outside, inside) as sender:

            def counted() -> dict[str | None, int]:
                sources = ("1.0.1.1", "1.0.2.1", "1.0.3.1")
                sender.send([encode(Packet(source=one, dest="192.0.2.1", dport=443), 1) for one in sources])
                return {one.label: one.dropped[0] for one in engine.counters() if one.family == "ipv4" and one.label}

            engine.apply(JOINED, 1, ["eth0"])
            assert counted() == {"CN": 0, "RU": 0, "other": 3}
            engine.count_regions(JOINED)
            assert counted() == {"CN": 1, "RU": 1, "other": 4}
            without = ruleset(Service("api", DENIED, tcp=WEB, counted={"1.0.2.0/24": "RU"}))
            engine.apply(without, 2, ["eth0"])
            assert counted() == {"CN": 1, "RU": 1, "other": 7}
            engine.count_regions(without)
            assert counted() == {"CN": 1, "RU": 2, "other": 9}
            totals = engine.totals()
            engine.remove()
            with engine.staged(without, 3, counter_totals=totals) as staged:
                staged.switch(Scope(("eth0",)))
            assert counted() == {"CN": 1, "RU": 2, "other": 12}
