# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.api import Interface, Observed, Scope, Total
from geodrop.errors import ApplyError, ConfigError, UnavailableError
from geodrop.nftables import engine as engine_module
from geodrop.nftables import lookups
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.switch import Switch
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, namespaces
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.nftables.netlink.wire import NetlinkRequest
    from tests.support.namespaces import Namespace

DENIED = {
    "1.0.1.0/24": "CN",
    "1.0.2.0/23": "RU",
    "9.9.9.0/24": "never-drop else CN",
    "10.0.0.0/8": "special else unknown",
    "224.0.0.0/3": "list:bad",
    "240e::/20": "CN",
    "2001:db8::/32": "never-drop",
    "2002::/16": "6to4",
    "2001::/32": "teredo",
}
WEB = ((443, 443), (8000, 8099))
ONE = ruleset(
    Service("api", DENIED, tcp=WEB, udp=((443, 443),), established="keep"),
    Service("dns", {"1.0.1.0/24": "CN"}, udp=((53, 53),), addresses=("192.0.2.0/28", "192.0.2.77/32", "2001:db8::/64")),
    Service("trial", DENIED, mode="monitor"),
    Service("rest", {"1.0.1.0/24": "CN", "2002::/16": "nat64"}, starts=4_000_000_000),
)
OTHER = ruleset(Service("api", {"1.0.1.0/24": "CN", "5.0.0.0/8": "DE"}, tcp=((443, 443),)))

FOREIGN = """
table inet filter {
    set allowed { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }
    chain input { type filter hook input priority 0; policy accept; ip saddr @allowed counter accept; }
}
table ip nat {
    chain post { type nat hook postrouting priority 100; oifname "eth9" masquerade; }
}
table inet geodrop2 {
    comment "no relation"
}
"""


@pytest.fixture
def engine(netns: Namespace) -> NftablesEngine:
    """Yield an engine in a namespace of its own, in which another program has rules too."""
    netns.nft(FOREIGN)
    return NftablesEngine()


def foreign(netns: Namespace) -> list[str]:
    """Return the tables of other programs, as nft lists them."""
    tables = (("inet", "filter"), ("ip", "nat"), ("inet", "geodrop2"))
    return [netns.run("nft", "-a", "list", "table", *table) for table in tables]


def listed(netns: Namespace) -> str:
    """Return our table with handles: a chain that was deleted and made again has another handle."""
    return netns.run("nft", "-a", "list", "table", "inet", "geodrop")


def table_names(netns: Namespace, kind: str) -> set[str]:
    """Return the names of the chains, maps or counters of our table, as nft lists them."""
    content = json.loads(netns.run("nft", "-j", "list", "table", "inet", "geodrop"))["nftables"]
    return {item[kind]["name"] for item in content if kind in item}


def test_load_observe_verify_remove(engine: NftablesEngine, netns: Namespace) -> None:
    """A ruleset is loaded, observed, verified, removed; foreign tables stay byte for byte as they were."""
    before = foreign(netns), netns.run("nft", "list", "tables")
    engine.probe()
    assert engine.observe() == Observed()
    report = engine.apply(ONE, 1, ["eth0", "ens*"])
    assert report.generation == 1
    assert set(report.seconds) == {"fill", "verify", "switch", "delete"}
    assert report.note == ""
    interfaces = (Interface("ens*", "nftables"), Interface("eth0", "nftables"))
    assert engine.observe() == Observed(1, ONE.digest, interfaces)
    assert engine.verify(ONE) == []
    assert foreign(netns) == before[0]
    assert engine.remove() is True
    assert engine.remove() is False
    assert engine.observe() == Observed()
    assert (foreign(netns), netns.run("nft", "list", "tables")) == before


def test_update(engine: NftablesEngine, netns: Namespace) -> None:
    """Only the new generation remains; of the old one, only counters."""
    before = foreign(netns)
    engine.apply(ONE, 1, ["eth0"])
    engine.apply(OTHER, 5, ["eth0", "eth1"])
    assert engine.observe().generation == 5
    assert engine.verify(OTHER) == []
    assert [difference.where for difference in engine.verify(ONE)] == ["chain g5"]
    assert {name.split("-")[0].split(".")[0] for name in table_names(netns, "chain")} == {"g5", "prerouting"}
    assert table_names(netns, "map") == {"g5-api.ipv4"}
    assert {"trial.CN.ipv4.would_drop", "api.DE.ipv4.dropped"} <= table_names(netns, "counter")
    engine.apply(ONE, 6, ["eth0"])
    assert engine.verify(ONE) == []
    assert foreign(netns) == before


def test_generations_only_grow(engine: NftablesEngine) -> None:
    """The number in force, or a lower one, is refused before anything changes."""
    engine.apply(ONE, 3, ["eth0"])
    for generation in (2, 3):
        with pytest.raises(ApplyError, match="generation 3 is in force"):
            engine.apply(OTHER, generation, ["eth0"])
    assert engine.verify(ONE) == []


def test_the_scope_of_a_generation_changes_in_place(engine: NftablesEngine, netns: Namespace) -> None:
    """A filled generation is not filled again: only rules of the base chain change; their reasons are read back."""
    engine.apply(ONE, 1, ["eth*"])
    maps = netns.run("nft", "list", "maps")
    scope = Scope(("eth*", "eth7"), (1,), {"eth7": "another program is attached there"})
    with engine.staged(ONE, 1) as staged:
        staged.switch(scope)
    assert engine.observe().interfaces == (
        Interface("eth*", "nftables"),
        Interface("eth7", "nftables", why="another program is attached there"),
    )
    assert engine.verify(ONE) == []
    assert netns.run("nft", "list", "maps") == maps
    base = netns.run("nft", "list", "chain", "inet", "geodrop", "prerouting")
    assert 'iif "lo" accept comment "judged by xdp"' in base
    with contextlib.suppress(KeyError), engine.staged(OTHER, 2) as staged:
        staged.switch(Scope(("lo",)))
        assert engine.observe().generation == 2
        raise KeyError
    assert netns.run("nft", "list", "chain", "inet", "geodrop", "prerouting") == base
    assert engine.verify(ONE) == []


def test_a_retired_table_keeps_its_counters_and_judges_nothing(engine: NftablesEngine, netns: Namespace) -> None:
    """Totals stay and continue; no chain is left that a packet could reach."""
    assert not engine.retire()
    engine.apply(ONE, 1, ["eth0"])
    counted = engine.counters()
    assert engine.retire()
    assert engine.observe() == Observed()
    assert (table_names(netns, "chain"), table_names(netns, "map")) == (set(), set())
    assert engine.counters() == counted
    assert not engine.retire()
    engine.apply(OTHER, 2, ["eth0"])
    assert engine.verify(OTHER) == []


def test_no_interface(engine: NftablesEngine, netns: Namespace) -> None:
    """Rules loaded without an interface would judge nothing but look as if they did."""
    with pytest.raises(ConfigError, match="no interface"):
        engine.apply(ONE, 1, [])
    assert "table inet geodrop\n" not in netns.run("nft", "list", "tables")


@pytest.mark.parametrize("text", ["add table inet geodrop", 'table inet geodrop { comment "mine"\n }'])
def test_a_foreign_table_of_our_name(engine: NftablesEngine, netns: Namespace, text: str) -> None:
    """Every operation leaves the table alone."""
    netns.nft(text)
    before = listed(netns)
    for action in (
        engine.observe,
        engine.remove,
        engine.counters,
        lambda: engine.verify(ONE),
        lambda: engine.apply(ONE, 1, ["eth0"]),
        lambda: engine.judge(ONE, ["192.0.2.1"]),
    ):
        with pytest.raises(UnavailableError, match="that geodrop did not make"):
            action()
    assert listed(netns) == before


class Breaking:
    """Lets `passing` transactions pass, then refuses them as the kernel would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, passing: int) -> None:
        self.left = passing
        real = Connection.transaction

        def transaction(connection: Connection, requests: Iterable[NetlinkRequest]) -> None:
            self.left -= 1
            if self.left == -1:
                raise ApplyError("broken on purpose")
            real(connection, requests)

        monkeypatch.setattr(Connection, "transaction", transaction)


@pytest.mark.parametrize("passing", [0, 1])
def test_a_first_load_that_fails_leaves_nothing(
    engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch, passing: int
) -> None:
    """Nothing is left if the fill or the switch fails."""
    before = netns.run("nft", "-a", "list", "ruleset")
    Breaking(monkeypatch, passing)
    with pytest.raises(ApplyError, match="broken on purpose"):
        engine.apply(ONE, 1, ["eth0"])
    assert netns.run("nft", "-a", "list", "ruleset") == before


@pytest.mark.parametrize("passing", [0, 1])
def test_an_update_that_fails_leaves_the_old_generation(
    engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch, passing: int
) -> None:
    """The table is byte for byte the old one, without new counters."""
    engine.apply(ONE, 1, ["eth0"])
    before = listed(netns)
    breaking = Breaking(monkeypatch, passing)
    with pytest.raises(ApplyError, match="broken on purpose"):
        engine.apply(OTHER, 2, ["eth0", "eth1"])
    assert listed(netns) == before
    breaking.left = 1_000
    engine.apply(OTHER, 3, ["eth0"])
    assert engine.verify(OTHER) == []


def test_a_fill_of_several_transactions_that_fails(
    engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the earlier transactions made is removed again."""
    monkeypatch.setattr(engine_module, "TRANSACTION", 2_000)
    engine.apply(ONE, 1, ["eth0"])
    assert engine.verify(ONE) == []
    before = listed(netns)
    Breaking(monkeypatch, 1)
    with pytest.raises(ApplyError, match="broken on purpose"):
        engine.apply(ONE, 2, ["eth0"])
    assert listed(netns) == before


@pytest.mark.parametrize("load", ["first", "second"])
@pytest.mark.parametrize(
    ("moment", "change"),
    [
        ("in what was filled", ["add", "rule", "inet", "geodrop", "g2-api", "accept"]),
        ("in what was filled", ["flush", "chain", "inet", "geodrop", "g2-api.CN.ipv4"]),
        ("in what leads there", ["flush", "chain", "inet", "geodrop", "prerouting"]),
        ("in what leads there", ["insert", "rule", "inet", "geodrop", "prerouting", "accept"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_differs_when_read_back_is_rolled_back(  # noqa: PLR0917 - fixtures and parameters
    engine: NftablesEngine,
    netns: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    change: list[str],
    load: str,
) -> None:
    """If another program changes our rules during a load, the load fails and the previous rules are in force again."""
    if load == "second":
        engine.apply(ONE, 1, ["eth0"])
    before = engine.observe()
    reader, step = (NftablesEngine, "_verify_filled") if moment == "in what was filled" else (Switch, "differences")
    real = getattr(reader, step)

    def meddle(*arguments: object) -> object:
        netns.run("nft", *change)
        return real(*arguments)

    monkeypatch.setattr(reader, step, meddle)
    with pytest.raises(ApplyError, match="read back, the kernel differs in chain"):
        engine.apply(OTHER, 2, ["eth0"])
    assert engine.observe() == before
    if load == "second":
        assert engine.verify(ONE) == []
    else:
        assert "table inet geodrop\n" not in netns.run("nft", "list", "tables")


def test_leftovers_of_dead_attempts_are_removed(
    engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An apply that was killed halfway left a generation that no rule leads to."""
    monkeypatch.setattr(NftablesEngine, "_discard", lambda *_: None)
    engine.apply(ONE, 1, ["eth0"])
    # The second attempt deletes what the first one left, in two transactions, before its own fill fails in turn.
    for generation, passing in ((2, 1), (3, 3)):
        with monkeypatch.context() as patch:
            Breaking(patch, passing)
            with pytest.raises(ApplyError, match="broken on purpose"):
                engine.apply(OTHER, generation, ["eth0"])
    assert {name[:2] for name in table_names(netns, "chain")} == {"g1", "g3", "pr"}
    assert engine.observe().generation == 1
    engine.apply(OTHER, 4, ["eth0"])
    assert engine.verify(OTHER) == []
    assert {name.split("-")[0].split(".")[0] for name in table_names(netns, "chain")} == {"g4", "prerouting"}


def test_what_cannot_be_deleted_is_left_for_later(
    engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new generation stays in force; the report says what is left, and the next load deletes it."""
    engine.apply(ONE, 1, ["eth0"])
    with monkeypatch.context() as patch:
        Breaking(patch, 2)
        report = engine.apply(OTHER, 2, ["eth0"])
    assert report.note == "left for the next load to delete: broken on purpose"
    assert engine.observe().generation == 2
    assert {difference.found for difference in engine.verify(OTHER)} == {"a chain", "a map"}
    engine.apply(ONE, 3, ["eth0"])
    assert engine.verify(ONE) == []
    assert {name[:2] for name in table_names(netns, "chain")} == {"g3", "pr"}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (["flush", "chain", "inet", "geodrop", "g1-api.CN.ipv4"], "chain g1-api.CN.ipv4, rule 1"),
        (["add", "rule", "inet", "geodrop", "g1", "accept"], "chain g1, rule"),
        (["insert", "rule", "inet", "geodrop", "prerouting", "accept"], "chain prerouting, rule 1"),
        (["add", "chain", "inet", "geodrop", "mine"], "chain mine"),
        (["add", "set", "inet", "geodrop", "mine", "{ type ipv4_addr; }"], "set mine"),
        (["add", "table", "inet", "geodrop", "{ flags dormant; }"], "table inet geodrop"),
        (["add", "chain", "inet", "geodrop", "prerouting", "{ policy drop; }"], "chain prerouting"),
        (["flush", "chain", "inet", "geodrop", "prerouting"], "table inet geodrop"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_verify_finds_what_others_changed(
    engine: NftablesEngine, netns: Namespace, change: list[str], where: str
) -> None:
    """Changed rules, chains and sets show, and so do the table's flags and the base chain's policy."""
    engine.apply(ONE, 1, ["eth0"])
    netns.run("nft", *change)
    assert any(difference.where.startswith(where) for difference in engine.verify(ONE))


def test_a_missing_interface_shows(engine: NftablesEngine, netns: Namespace) -> None:
    """The rules of the base chain number themselves, so a missing one shows."""
    engine.apply(ONE, 1, ["eth0", "eth1"])
    handle = listed(netns).partition('iifname "eth1"')[2].partition("handle ")[2].split()[0]
    netns.run("nft", "delete", "rule", "inet", "geodrop", "prerouting", "handle", handle)
    assert [difference.where for difference in engine.verify(ONE)] == ["chain prerouting, rule 1"]


def test_live_maps_cannot_be_edited(engine: NftablesEngine, netns: Namespace) -> None:
    """Live maps are constant: the kernel refuses every change."""
    engine.apply(ONE, 1, ["eth0"])
    for verb in ("add", "delete"):
        with pytest.raises(RuntimeError, match="Device or resource busy"):
            netns.run("nft", verb, "element", "inet", "geodrop", "g1-api.ipv4", "{ 1.0.1.0/24 : goto g1-api.CN.ipv4 }")


def test_verify_finds_other_content(engine: NftablesEngine) -> None:
    """Full verification compares every interval, by address and verdict."""
    engine.apply(OTHER, 1, ["eth0"])
    smaller = ruleset(Service("api", {"1.0.1.0/24": "CN", "5.0.0.0/9": "DE"}, tcp=((443, 443),)))
    changed = replace(smaller, digest=OTHER.digest)
    wheres = [difference.where for difference in engine.verify(changed)]
    assert wheres == ["map g1-api.ipv4, 5.0.0.0-5.127.255.255", "map g1-api.ipv4, 5.0.0.0-5.255.255.255"]


def test_large_maps_in_shards(engine: NftablesEngine, netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps cut into parts load, verify, list with nft 1.0.6 and judge; embedded addresses find their part."""
    monkeypatch.setattr(lookups, "MAX_INTERVALS", 50)
    denied = {f"{number}.{half}.0.0/16": "CN" for number in range(1, 101) for half in (0, 128)}
    rules = ruleset(Service("api", {**denied, "2002::/16": "6to4", "2001::/32": "teredo"}, tcp=((443, 443),)))
    engine.apply(rules, 1, ["eth0"])
    assert engine.verify(rules) == []
    parts = {f"g1-api.{space}.{number}" for space in ("ipv4", "inside") for number in range(1, 5)}
    assert table_names(netns, "map") == {"g1-api.ipv6", *parts}
    assert "ip saddr 26.0.0.0-50.128.255.255 ip saddr vmap @g1-api.ipv4.2" in listed(netns)
    addresses = ["1.0.0.1", "50.128.255.255", "51.1.0.0", "100.128.3.4", "2002:3300:0001::1", "2001::cd7f:fffe"]
    drops = [judged[0].verdict for judged in engine.judge(rules, addresses)]
    assert drops == ["drop", "drop", "accept", "drop", "drop", "drop"]


def test_listing_reads_well(engine: NftablesEngine, netns: Namespace) -> None:
    """The listing explains itself to a reader, in nft 1.0.6 and later; a listing as JSON does not crash nft."""
    engine.apply(ONE, 42, ["eth0", "ens*"])
    # nft 1.1 writes the same expression in another form.
    text = netns.run("nft", "--terse", "list", "table", "inet", "geodrop")
    text = text.replace("tcp flags & (syn | ack) != syn", "tcp flags != syn / syn,ack")
    for line in (
        'comment "geodrop: drops packets from regions that a service does not support; see: geodrop status"',
        f'comment "geodrop generation 42 digest {ONE.digest} loaded ',
        'iifname "eth0" goto g42 comment "interface 2 of 2"',
        'iifname "ens*" goto g42 comment "interface 1 of 2"',
        'tcp dport { 443, 8000-8099 } goto g42-api comment "service api, enforce"',
        "ip daddr { 192.0.2.0/28, 192.0.2.77 } udp dport 53 ip saddr vmap @g42-dns.ipv4",
        'ip6 daddr 2001:db8::/64 udp dport 53 goto g42-dns comment "service dns, enforce"',
        "tcp flags != syn / syn,ack goto g42-api.open",
        "ip saddr vmap @g42-api.ipv4",
        "ip6 saddr vmap @g42-api.ipv6",
        'counter name "api.CN.ipv4.dropped" drop',
        "@nh,80,32 vmap @g42-api.inside",
        "type ipv4_addr : verdict",
        "typeof @nh,80,32 : verdict",
    ):
        assert line in text
    elements = netns.run("nft", "list", "map", "inet", "geodrop", "g42-api.ipv4")
    assert "1.0.1.0/24 : goto g42-api.CN.ipv4" in elements
    assert json.loads(netns.run("nft", "-j", "list", "ruleset"))


def test_counters_outlive_generations() -> None:
    """Counters by service, family and label count packets and bytes of the IP packet; they only grow until unload."""
    with namespaces("net", "host") as [net, host]:
        outside, inside = End(net, "net0", ["192.0.2.2/24"]), End(host, "eth0", ["192.0.2.1/24"])
        join(outside, inside)
        engine = NftablesEngine()
        with host.entered(), PacketSender(outside, inside) as sender:
            engine.apply(ONE, 1, ["eth0"])
            packets = [ipv4(source, 443) for source in ("1.0.1.1", "1.0.1.2", "8.8.8.8", "9.9.9.9")]
            sender.send(packets)
            first = {(count.service, count.family, count.label): count for count in engine.counters()}
            assert first["api", "ipv4", "CN"].dropped == (2, 80)
            assert first["api", "ipv4", None].accepted == (1, 40)
            assert first["api", "ipv4", None].never_drop == (1, 40)
            assert first["api", "ipv6", "CN"] == Total("api", "ipv6", "CN")
            engine.apply(OTHER, 2, ["eth0"])
            sender.send(packets)
            engine.apply(ONE, 3, ["eth0"])
            second = {(count.service, count.family, count.label): count for count in engine.counters()}
            assert second["api", "ipv4", "CN"].dropped == (4, 160)
            assert second["trial", "ipv4", "CN"].would_drop == (0, 0)
            engine.remove()
            assert engine.counters() == []


def ipv4(source: str, port: int) -> bytes:
    """Return an IPv4 packet with a TCP SYN."""
    return encode(Packet(source=source, dest="192.0.2.1", dport=port), 1)
