# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.nftables import readback, render
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink.connection import Connection, RefusedError
from geodrop.nftables.netlink.expressions import Other
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from geodrop.nftables.model import Snapshot
    from tests.support.namespaces import Namespace

NOW = 1_700_000_000
RULES = ruleset(
    Service("api", {"1.0.1.0/24": "CN", "2002::/16": "6to4", "2001::/32": "teredo"}, tcp=((443, 443), (8000, 8099))),
    Service("ping", {"1.0.1.0/24": "CN"}, protocols=(1, 58), addresses=("192.0.2.0/28", "2001:db8::/64")),
    Service("rest", {"1.0.1.0/24": "CN"}, starts=NOW + 60, established="keep"),
)


def read() -> Snapshot | None:
    """Read through a new connection."""
    with Connection() as connection:
        return readback.read(connection)


def test_everything_comes_back_as_it_was_written(netns: Namespace) -> None:
    """Every kind of expression, comment, header and hook is read back in the kernel's own form."""
    del netns
    NftablesEngine(lambda: NOW).apply(RULES, 3, ["eth*", "lo"])
    expected = render.build(RULES, 3, ["eth*", "lo"], NOW)
    snapshot = read()
    assert snapshot is not None
    base = render.base_chain(expected.switch)
    assert snapshot.chains == {chain.name: chain for chain in (*expected.chains, base)}
    assert snapshot.maps == {map_.header.name: map_.header for map_ in expected.maps}
    assert snapshot.counters == dict.fromkeys(expected.counters, (0, 0))
    assert snapshot.sets == ()
    assert (snapshot.flags, snapshot.comment) == (0, readback.TABLE_COMMENT)


def test_a_commit_in_the_middle_is_read_again(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets that were listed may be deleted before their elements are read: the next generation is what is read then."""
    del netns
    NftablesEngine().apply(RULES, 1, ["eth0"])
    dump, failed = readback.dump_elements, []

    def switched(connection: Connection, name: str) -> list[memoryview]:
        monkeypatch.setattr(readback, "dump_elements", dump)
        NftablesEngine().apply(RULES, 2, ["eth0"])
        try:
            return dump(connection, name)
        except RefusedError as error:
            failed.append(error.errno)
            raise

    monkeypatch.setattr(readback, "dump_elements", switched)
    snapshot = read()
    assert failed == [errno.ENOENT]
    assert snapshot is not None
    assert {name.partition("-")[0].partition(".")[0] for name in snapshot.chains} == {"prerouting", "g2"}


def test_what_others_put_into_the_table_is_seen(netns: Namespace) -> None:
    """Rules, sets and maps that geodrop never makes can all be read."""
    NftablesEngine().apply(RULES, 1, ["eth0"])
    netns.nft(
        """
        table inet geodrop {
            map strange { type inet_service : mark; flags timeout; elements = { 22 timeout 1h : 7 }; }
            set plain { type ether_addr; }
            counter theirs { }
            quota much { over 1 mbytes; }
            chain other {
                tcp dport != { 22, 80 } ct state new limit rate 5/second drop
                ip saddr . tcp dport { 192.0.2.1 . 22 } reject
                meta mark set tcp dport map { 22 : 1, 80-90 : 2 }
                tcp dport vmap { 22 : drop, 23 : continue }
                comment "last"
            }
        }
        """.replace("                comment", "                accept comment")
    )
    snapshot = read()
    assert snapshot is not None
    # Anonymous sets belong to the rules that use them, and are removed with these.
    assert set(snapshot.sets) == {"strange", "plain"}
    assert set(snapshot.objects) == {(1, "theirs"), (2, "much")}  # NFT_OBJECT_COUNTER and _QUOTA
    assert snapshot.flowtables == ()
    rules = snapshot.chains["other"].rules
    assert len(rules) == 5
    assert all(any(isinstance(part, Other) for part in rule.expressions) for rule in rules[:3])
    assert rules[4].comment == "last"


def test_other_tables_are_not_read(netns: Namespace) -> None:
    """The kernel dumps chains of all tables of a family; chains of other tables do not count as ours."""
    netns.nft("table inet filter {\n chain prerouting {\n type filter hook prerouting priority 0\n }\n }\n")
    assert read() is None
    NftablesEngine().apply(RULES, 1, ["eth0"])
    netns.nft("table inet filter {\n chain g9 {\n accept\n }\n }\n")
    snapshot = read()
    assert snapshot is not None
    assert "g9" not in snapshot.chains
    assert snapshot.chains["prerouting"].hook == render.HOOK


@pytest.mark.parametrize("comment", ['comment "my table"\n', ""])
def test_a_foreign_table(netns: Namespace, comment: str) -> None:
    """A table without our mark is not ours."""
    netns.nft(f"table inet geodrop {{\n {comment} }}\n")
    with pytest.raises(UnavailableError, match="nft list table inet geodrop"):
        read()


@pytest.mark.parametrize(
    "change",
    [
        ["add", "table", "inet", "geodrop", "{ flags dormant; }"],
        ["flush", "chain", "inet", "geodrop", "prerouting"],
    ],
    ids=" ".join,
)
def test_a_table_that_judges_nothing_is_not_in_force(netns: Namespace, change: list[str]) -> None:
    """The table is complete but judges nothing."""
    engine = NftablesEngine()
    engine.apply(RULES, 4, ["eth0"])
    assert engine.observe().generation == 4
    netns.run("nft", *change)
    assert engine.observe().generation == 0
    engine.apply(RULES, 5, ["eth0"])
    assert engine.verify(RULES) == []
