# SPDX-License-Identifier: Apache-2.0
"""Exported text is loaded by stock nft. Its verdicts are tested by the conformance suite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from geodrop.nftables import lookups
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.export import TABLE, nft
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    import pytest

    from tests.support.namespaces import Namespace

DENIED = {
    "1.0.1.0/24": "CN",
    "1.0.3.0/24": "RU",
    "9.9.9.0/24": "never-drop else CN",
    "10.0.0.0/8": "special else unknown",
    "224.0.0.0/3": "list:bad",
    "240e::/20": "CN",
    "2c00::/16": "never-drop",
    "2002::/16": "6to4",
    "2001::/32": "teredo",
    "64:ff9b::/96": "nat64",
}
RULES = ruleset(
    Service("api", DENIED, tcp=((443, 443), (8000, 8099)), udp=((443, 443),), established="keep", action="reject"),
    Service("dns", {"1.0.1.0/24": "CN"}, udp=((53, 53),), addresses=("192.0.2.0/28", "192.0.2.77/32", "2001:db8::/64")),
    Service("trial", DENIED, mode="monitor"),
    Service("rest", {"1.0.1.0/24": "CN", "2002::/16": "6to4"}, starts=4_000_000_000),
    never_drop_udp=((53, 53),),
)


def listed(netns: Namespace) -> str:
    """Return all tables, as nft lists them."""
    return netns.run("env", "TZ=UTC", "nft", "--stateless", "list", "ruleset")


def reloaded(netns: Namespace, saved: str, zone: str = "UTC") -> str:
    """Return what nft lists after it has loaded its own listing."""
    netns.run("nft", "flush", "ruleset")
    netns.run("env", f"TZ={zone}", "nft", "-f", "-", stdin=saved)
    return listed(netns)


def test_loading_again_replaces(netns: Namespace) -> None:
    """Loading twice gives the same table, without duplicate rules; another ruleset leaves nothing of the first."""
    netns.nft("".join(nft(RULES, ["eth0", "ens*"])))
    before = listed(netns)
    netns.nft("".join(nft(RULES, ["eth0", "ens*"])))
    assert listed(netns) == before
    netns.nft("".join(nft(ruleset(Service("web", {"5.0.0.0/8": "DE"})))))
    assert "g0-api" not in listed(netns)


def test_what_nft_lists_can_be_loaded(netns: Namespace) -> None:
    """A saved `nft list ruleset`, with the live table, can be loaded: the result is listed and loads again unchanged.

    The first time nft joins adjacent loads of bytes and writes some numbers in another way. The conformance suite
    tests the verdicts and counts of the result.
    """
    netns.nft("".join(nft(RULES)))
    NftablesEngine().apply(RULES, 1, ["eth0"])
    saved = listed(netns)
    once = reloaded(netns, saved)
    assert len(once.splitlines()) == len(saved.splitlines())
    assert reloaded(netns, once) == once


def test_only_starts_and_pauses_know_a_time_zone(netns: Namespace) -> None:
    """`meta time` is listed and read as local time: saved in one zone and loaded in another, only such rules move."""
    NftablesEngine().apply(RULES, 1, ["eth0"])
    saved = listed(netns)
    there, elsewhere = reloaded(netns, saved), reloaded(netns, saved, "Etc/GMT+5")
    moved = [pair for pair in zip(there.splitlines(), elsewhere.splitlines(), strict=True) if len(set(pair)) > 1]
    assert moved
    assert all("meta time" in line for pair in moved for line in pair)


def test_beside_the_live_table(netns: Namespace) -> None:
    """Neither table affects the other: the engine sees its own only, and unload leaves the exported one."""
    engine = NftablesEngine()
    engine.apply(RULES, 1, ["eth0"])
    netns.nft("".join(nft(RULES)))
    assert engine.verify(RULES) == []
    assert engine.remove()
    tables = json.loads(netns.run("nft", "--json", "list", "tables"))["nftables"]
    assert [item["table"]["name"] for item in tables if "table" in item] == [TABLE]


def test_large_maps_in_parts(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of the parts are rules of their own, also for addresses inside IPv6."""
    monkeypatch.setattr(lookups, "MAX_INTERVALS", 2)
    netns.nft("".join(nft(RULES)))
    rules = netns.run("nft", "list", "chain", "inet", TABLE, "g0-api.teredo")
    assert rules.count("vmap @g0-api.inside.") == 3
