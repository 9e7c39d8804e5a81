# SPDX-License-Identifier: Apache-2.0
"""Trace packets through the rules read back from the kernel: whatever lets them pass shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.probes import probes
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.walk import Walk
from tests.support.worlds import compiled
from tests.unit.engine.test_probes import SERVICES

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.nftables.netlink.expressions import RuleVerdict
    from geodrop.ruleset.model import Ruleset
    from tests.support.namespaces import Namespace

LINKS = {7: "eth0", 8: "wan0"}


@pytest.fixture
def rules(netns: Namespace, tmp_path: Path) -> Ruleset:
    """Load every kind of service on every eth interface."""
    del netns
    made = compiled(SERVICES, tmp_path)
    NftablesEngine().apply(made, 1, ["eth*"])
    return made


def verdicts(rules: Ruleset, link: str = "eth0") -> tuple[list[str], list[str]]:
    """Return the expected verdicts of packets, and the traced ones."""
    chosen = probes(rules, time.time())
    return [one.expected for one in chosen], NftablesEngine().trace(chosen, LINKS)[link]


def test_as_the_ruleset_says(rules: Ruleset) -> None:
    """Verdicts follow each service's ports, addresses, protocols and maps; packets that match no rule are accepted."""
    for _ in range(10):
        expected, found = verdicts(rules)
        assert found == expected
        assert {"accept", "drop"} == set(expected)
    assert set(verdicts(rules, "wan0")[1]) == {"accept"}
    counted = {one.dropped + one.accepted + one.would_drop + one.never_drop for one in NftablesEngine().counters()}
    assert counted == {(0,) * 8}


def test_a_pause(rules: Ruleset) -> None:
    """A pause shows by the rules that ask the kernel's clock."""
    paused = rules.paused(int(time.time()) + 3600)
    NftablesEngine().apply(paused, 2, ["eth*"])
    expected, found = verdicts(paused)
    assert set(expected) == set(found) == {"accept"}


@pytest.mark.parametrize(
    "change",
    [
        "flush ruleset",
        "flush chain inet geodrop prerouting",
        "insert rule inet geodrop prerouting accept",
        "insert rule inet geodrop g1 accept",
        "add table inet geodrop { flags dormant; }",
        "insert rule inet geodrop prerouting iif 7 accept",
    ],
)
def test_what_lets_packets_pass_shows(rules: Ruleset, netns: Namespace, change: str) -> None:
    """Every change shows that lets a packet pass which should be dropped."""
    netns.nft(change + "\n")
    expected, found = verdicts(rules)
    assert "drop" in expected
    assert set(found) == {"accept"}


@pytest.mark.parametrize("chain", ["prerouting", "g1"])
def test_what_cannot_be_read_counts_against_the_packet(rules: Ruleset, netns: Namespace, chain: str) -> None:
    """A foreign rule with unknown expressions might accept the packet, so the packet is not reported as dropped."""
    netns.nft(f"insert rule inet geodrop {chain} meta nfproto {{ ipv4, ipv6 }} accept\n")
    assert set(verdicts(rules)[1]) == {"unknown"}


def test_many_links_cost_little(rules: Ruleset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the hook the way is the same for all links, so maps are looked up once for each packet."""
    asked: list[str] = []
    lookup = Walk._lookup

    def counted(self: Walk, name: str, key: bytes) -> RuleVerdict | None:
        asked.append(name)
        return lookup(self, name, key)

    monkeypatch.setattr(Walk, "_lookup", counted)
    chosen = probes(rules, time.time())
    NftablesEngine().trace(chosen, {1: "eth0"})
    few = len(asked)
    NftablesEngine().trace(chosen, {number: f"eth{number}" for number in range(50)})
    assert few
    assert len(asked) == 2 * few
