# SPDX-License-Identifier: Apache-2.0
"""Overlays in the kernel: what they stand on, what of that is checked, and which generation follows them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from geodrop.engine.api import Scope
from geodrop.errors import ApplyError
from geodrop.nftables import bases, overlay
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.switch import Switch
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.nftables.bases import Kept
    from geodrop.ruleset.model import Ruleset
    from tests.support.namespaces import Namespace

pytestmark = pytest.mark.root

WEB = ((443, 443),)
MANY = {f"1.{number}.0.0/16": "CN" for number in range(0, 250, 2)} | {
    **{f"24{number:02x}::/16": "CN" for number in range(1, 20, 2)},
    "2002::/16": "6to4",
}
FIRST = ruleset(Service("api", MANY, tcp=WEB))
SECOND = ruleset(Service("api", {**MANY, "2.0.0.0/8": "RU", "2400::/20": "RU"}, tcp=WEB))
THIRD = ruleset(Service("api", {prefix: label for prefix, label in MANY.items() if prefix != "1.2.0.0/16"}, tcp=WEB))
KEPT = {one.digest: one for one in (FIRST, SECOND, THIRD)}


@pytest.fixture
def engine(netns: Namespace) -> Iterator[NftablesEngine]:
    """Yield an engine with ruleset ONE in force as generation 1; overlays are allowed for small rulesets too."""
    with netns.entered(), mock.patch.object(overlay, "SMALLEST", 0):
        made = NftablesEngine()
        made.apply(FIRST, 1, ["eth0"])
        yield made


def load(engine: NftablesEngine, wanted: Ruleset, generation: int, kept: Kept | None = KEPT.get) -> None:
    """Load as an overlay where that is possible."""
    with engine.staged(wanted, generation, kept) as staged:
        staged.switch(Scope(("eth0",)))


def chains(netns: Namespace) -> set[str]:
    """Return the generations that have chains in the table."""
    words = netns.run("nft", "-t", "list", "table", "inet", "geodrop").split()
    names = [after for word, after in itertools.pairwise(words) if word in {"chain", "map"}]
    return {name.partition("-")[0].partition(".")[0] for name in names if name.startswith("g")}


def test_one_after_the_other(engine: NftablesEngine, netns: Namespace) -> None:
    """Each overlay stands on the same whole generation, whose maps stay unchanged; the next whole generation deletes
    all.
    """
    before = netns.run("nft", "list", "map", "inet", "geodrop", "g1-api.ipv4")
    for generation, wanted in enumerate((SECOND, THIRD, FIRST, SECOND), start=2):
        load(engine, wanted, generation)
        assert engine.is_overlay()
        assert chains(netns) == {"g1", f"g{generation}"}
        assert engine.verify(wanted) == []
        assert [engine.verify_share(wanted, part, 2) for part in (0, 1)] == [[], []]
        assert netns.run("nft", "list", "map", "inet", "geodrop", "g1-api.ipv4") == before
        moved = [verdicts[0] for verdicts in engine.judge(wanted, ["2.1.1.1", "1.2.3.4", "1.4.0.0", "2002:102:304::"])]
        dropped = [wanted is SECOND, wanted is not THIRD, True, wanted is not THIRD]
        assert [one.verdict == "drop" for one in moved] == dropped
        assert [one.would_drop for one in moved] == dropped
    load(engine, SECOND, 6, None)
    assert not engine.is_overlay()
    assert chains(netns) == {"g6"}
    assert engine.verify(SECOND) == []


def test_another_content_shows(engine: NftablesEngine) -> None:
    """A full verification lays both maps over each other and names each difference."""
    load(engine, SECOND, 2)
    other = ruleset(Service("api", {**MANY, "2.0.0.0/9": "RU", "2400::/20": "RU"}, tcp=WEB))
    assert [one.where for one in engine.verify_share(other, 0, 1)] == [
        f"map g2-api.{space} over g1-api.{space}, 2.0.0.0-2.{last}.255.255"
        for space in ("ipv4", "inside")
        for last in (127, 255)
    ]


@pytest.mark.parametrize("gone", ["it is not kept", "its chain says something else", "a service drops no more"])
def test_where_a_whole_one_is_made(engine: NftablesEngine, netns: Namespace, gone: str) -> None:
    """No overlay is made if the base is not known for certain, or if its chains would do something else."""
    wanted, known = SECOND, KEPT
    if gone == "it is not kept":
        known = {}
    elif gone == "its chain says something else":
        netns.nft("insert rule inet geodrop g1-api.CN.ipv4 accept\n")
    else:
        wanted = ruleset(Service("api", {**MANY, "2.0.0.0/8": "RU"}, mode="monitor", tcp=WEB))
    load(engine, wanted, 2, known.get)
    assert not engine.is_overlay()
    assert chains(netns) == {"g2"}
    assert engine.verify(wanted) == []


def test_a_base_that_holds_something_else(engine: NftablesEngine, netns: Namespace) -> None:
    """A base that differs from the ruleset it names is found before the switch, and nothing changes."""
    before = netns.run("nft", "list", "table", "inet", "geodrop")
    with (
        mock.patch.object(bases, "SAMPLE", 1000),
        pytest.raises(ApplyError, match=r"map g2-api\.ipv4 over g1-api\.ipv4"),
    ):
        load(engine, SECOND, 2, lambda _: SECOND)
    assert netns.run("nft", "list", "table", "inet", "geodrop") == before


def test_the_base_is_changed_afterwards(engine: NftablesEngine, netns: Namespace) -> None:
    """Verification includes the base's chains and its stamp."""
    load(engine, SECOND, 2)
    netns.nft("insert rule inet geodrop g1-api.CN.ipv4 accept\n")
    assert engine.verify(SECOND, full=False)[0].where == "chain g1-api.CN.ipv4, rule 1"
    load(engine, SECOND, 3, None)
    load(engine, FIRST, 4)
    assert engine.is_overlay()
    netns.nft("flush chain inet geodrop g3\ndelete chain inet geodrop g3\n")
    assert [one.where for one in engine.verify(FIRST)] == ["chain g3"]
    assert [one.where for one in engine.verify_share(FIRST, 0, 1)] == ["chain g3"]


def test_a_failure_leaves_the_overlay(engine: NftablesEngine, netns: Namespace) -> None:
    """After a failure the overlay and its base are still in force, whatever the next generation was to be."""
    load(engine, SECOND, 2)
    before = netns.run("nft", "--stateless", "list", "table", "inet", "geodrop")
    for kept in (KEPT.get, None):
        with mock.patch.object(Switch, "differences", side_effect=ApplyError("no")), pytest.raises(ApplyError):
            load(engine, THIRD, 3, kept)
        assert netns.run("nft", "--stateless", "list", "table", "inet", "geodrop") == before
    assert engine.verify(SECOND) == []
