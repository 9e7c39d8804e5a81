# SPDX-License-Identifier: Apache-2.0
"""What doctor reports about nf_tables is true, and asking changes nothing."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from geodrop.doctor import nftables
from geodrop.doctor.finding import MISSING, OK
from geodrop.doctor.nftables import STOPS
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink.connection import Connection, RefusedError
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.nftables.netlink.wire import NetlinkRequest
    from tests.support.namespaces import Namespace


def test_here_everything_is_there(netns: Namespace) -> None:
    """This kernel has every kind, and the namespace is as empty as before."""
    found = {finding.name: finding.status for finding in nftables.findings()}
    names = ("capabilities", "nf_tables", "rules")
    assert found == {f"nftables: {name}": OK for name in names}
    assert netns.run("nft", "list", "ruleset") == ""


@pytest.mark.parametrize(
    ("expression", "cost", "stops"),
    [
        ("objref", "the nftables engine cannot be used", STOPS),
        ("reject", "`action: reject` cannot be loaded", ()),
        ("hash", "`share` or `ramp` cannot be loaded", ()),
    ],
)
def test_a_kernel_that_lacks_a_kind_of_rule(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch, expression: str, cost: str, stops: tuple[str, ...]
) -> None:
    """A kind that every load needs stops the engine if the kernel refuses it; any other costs only a feature."""
    del netns
    whole = Connection.transaction

    def lacking(connection: Connection, requests: Iterable[NetlinkRequest]) -> None:
        requests = list(requests)
        if any(expression.encode() + b"\0" in request.body for request in requests):
            raise RefusedError(errno.ENOENT, "add rule 1 to chain tried")
        whole(connection, requests)

    monkeypatch.setattr(Connection, "transaction", lacking)
    [finding] = [one for one in nftables.findings() if one.status == MISSING]
    assert finding.stops == stops
    assert cost in finding.cost
    assert "CONFIG_NFT_" in finding.next_step
    assert "ENOENT" in finding.found


def test_whose_the_table_is(netns: Namespace) -> None:
    """The name is free, ours, or taken by another program, whose table is left alone and stops nftables."""
    assert nftables.place().found == "the name inet geodrop is free"
    engine = NftablesEngine()
    engine.apply(ruleset(Service("api")), 1, ["eth0"])
    assert nftables.place().found == "inet geodrop is geodrop's"
    engine.remove()
    netns.nft("add table inet geodrop")
    finding = nftables.place()
    assert (finding.status, finding.stops) == (MISSING, ("nftables",))
    assert "did not make" in finding.found


def test_chains_that_packets_meet_before_ours(netns: Namespace) -> None:
    """Foreign chains before ours are named with table and priority; later ones, and those of other hooks, are not."""
    NftablesEngine().apply(ruleset(Service("api")), 1, ["eth0"])
    assert list(nftables.before_us()) == []
    netns.nft(
        """
        table inet theirs {
            chain early { type filter hook prerouting priority -500; }
            chain late { type filter hook prerouting priority -300; }
            chain other { type filter hook input priority -500; }
        }
        """
    )
    [finding] = nftables.before_us()
    assert finding.found == "inet theirs early, priority -500, comes before -450"


def test_a_missing_capability_is_a_finding(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing capability is reported with its cost and the line for the unit."""
    del netns
    monkeypatch.setattr("geodrop.linux.capabilities.effective", frozenset)
    first = next(nftables.findings())
    assert (first.status, first.found, first.stops) == (MISSING, "CAP_NET_ADMIN", ("nftables",))
    assert "AmbientCapabilities=CAP_NET_ADMIN" in first.next_step
