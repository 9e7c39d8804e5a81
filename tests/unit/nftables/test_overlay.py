# SPDX-License-Identifier: Apache-2.0
"""An overlay of the difference between two rulesets, laid over the old maps, gives the new ruleset."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.nftables import overlay, render
from geodrop.nftables.lookups import KEY
from geodrop.nftables.model import Map, MapHeader, Space
from geodrop.nftables.netlink.expressions import goto
from geodrop.nftables.overlay import Base
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from geodrop.nftables.model import Content, Program
    from geodrop.nftables.netlink.uapi import KeyType
    from geodrop.ruleset.model import Ruleset

NOW = 1_800_000_000
WEB = ((443, 443),)
MAPS = ("g1-api.ipv4", "g1-api.inside", "g1-api.ipv6")
BASE = Base(1, "", MAPS)

ipv4 = st.dictionaries(st.integers(0, 255).map(lambda n: f"{n}.0.0.0/8"), st.sampled_from(["CN", "RU"]), max_size=30)
ipv6 = st.dictionaries(
    st.integers(0, 255).map(lambda n: f"{n:02x}00::/8"), st.sampled_from(["CN", "RU", "6to4"]), max_size=30
)


def of(*parts: Mapping[str, str]) -> Ruleset:
    """Make a ruleset of one service with these intervals."""
    return ruleset(Service("api", {prefix: what for part in parts for prefix, what in part.items()}, tcp=WEB))


@pytest.fixture(autouse=True)
def _whatever_the_size() -> Iterator[None]:
    with mock.patch.multiple(overlay, LARGEST=0, SMALLEST=0):
        yield


def said(content: Content, name: str, addresses: list[bytes]) -> list[str | None]:
    """Return the chain that a map has for each address; None where it has no interval."""
    found: list[str | None] = []
    for address in addresses:
        says = None
        for at in range(len(content)):
            part = content.part(at, at + 1)
            if bytes(part.starts) <= address and (address < bytes(part.ends) or not any(part.ends)):
                says = str(content.verdicts[part.targets[0]]).replace(name, "g?")
        found.append(says)
    return found


@given(ipv4, ipv6, ipv4, ipv6)
def test_laid_over_the_old_it_is_the_new(
    old4: dict[str, str], old6: dict[str, str], new4: dict[str, str], new6: dict[str, str]
) -> None:
    """Old and new maps together answer like the new ruleset at every address. What is sent is sorted and disjoint, and
    repeats nothing that the old map says.
    """
    old, new = of(old4, old6), of(new4, new6)
    before, after = (render.build(one, number, (), NOW) for one, number in ((old, 1), (new, 2)))
    base = Base(1, "", [map_.header.name for map_ in before.maps])
    with mock.patch.multiple(overlay, LARGEST=0, SMALLEST=0):
        moved = overlay.delta(old, new, base)
    assert (moved is None) is (not before.maps)
    laid = render.build(new, 2, (), NOW, replace(base, delta=moved) if moved else None)
    held = {map_.header.key: map_ for map_ in laid.maps if map_.base_map}
    assert {map_.base_map for map_ in held.values()} <= set(base.maps)
    for key, map_ in held.items():
        addresses = [bytes([n]) + bytes(map_.content.width - 1) for n in range(256)]
        wanted = said_by(after, key, "g2", addresses)
        below = said_by(before, key, "g1", addresses)
        above = said(map_.content, "g2", addresses)
        in_no_map = "goto g?-api.accepted"
        together = [one or two for one, two in zip(above, below, strict=True)]
        assert [None if one == in_no_map else one for one in together] == wanted
        for one, two in zip(above, below, strict=True):
            # The chain for embedded addresses has to look in both generations' maps, so it is always the new one.
            assert one is None or one != (two or in_no_map) or one == "goto g?-api.6to4"
        starts = [bytes(map_.content.part(at, at + 1).starts) for at in range(len(map_.content))]
        assert starts == sorted(set(starts))


def said_by(built: Program, key: KeyType, name: str, addresses: list[bytes]) -> list[str | None]:
    """Return `said` for the map with such keys; a missing map has no intervals."""
    for map_ in built.maps:
        if map_.header.key is key:
            return said(map_.content, name, addresses)
    return [None] * len(addresses)


def test_when_it_is_not_worth_it() -> None:
    """No overlay is made for small or very different maps, without a base map, or for a service that is new."""
    many = {f"1.{high}.{low}.0/24": "CN" for high in range(9) for low in range(250)}
    more = {**many, "2.0.0.0/24": "RU"}
    with mock.patch.multiple(overlay, LARGEST=4, SMALLEST=1000):
        found = overlay.delta(of(many), of(more), BASE)
        assert found is not None
        assert [len(content) for content in found.values()] == [1, 1, 0]
        assert overlay.delta(of({"1.0.0.0/24": "CN"}), of({"1.0.0.0/24": "CN", "2.0.0.0/24": "RU"}), BASE) is None
        assert overlay.delta(of(many), of(dict.fromkeys(many, "RU")), BASE) is None
    assert overlay.delta(of(many), of(more), Base(1, "", ("g1-api.ipv4.1", "g1-api.ipv4.2"))) is None
    assert overlay.delta(ruleset(Service("web", many, tcp=WEB)), of(more), BASE) is None


def test_chains_of_the_base() -> None:
    """Chains of the base stand for the generation's own, except those that look up only the base's maps."""
    content = render.build(of({"1.0.0.0/24": "CN"}), 7, (), NOW).maps[0].content
    map_ = Map(MapHeader("g7-api.ipv4", "", KEY[Space.IPV4]), content, "g3-api.ipv4")
    assert overlay.translated("goto g3-api.CN.ipv4", map_) == "goto g7-api.CN.ipv4"
    assert overlay.translated("goto g3-api.teredo", map_) == "goto g3-api.teredo"
    assert overlay.translated("goto g33-api.CN.ipv4", map_) == "goto g33-api.CN.ipv4"
    assert overlay.translated("", map_) == ""


def test_a_sample_has_both_ends() -> None:
    """A sample holds both ends of an interval, with its neighbours; the last interval of the family has no end."""
    built = render.build(of({"1.0.0.0/24": "CN", "1.0.1.0/24": "RU", "255.0.0.0/8": "CN"}), 7, (), NOW)
    cn, ru = (str(goto(f"g7-api.{label}.ipv4")) for label in ("CN", "RU"))
    assert overlay.sample(built.maps[0].content, 10) == {
        ip_network("1.0.0.0").network_address.packed: cn,
        ip_network("1.0.1.0").network_address.packed: ru,
        ip_network("1.0.2.0").network_address.packed: "",
        ip_network("255.0.0.0").network_address.packed: cn,
    }
    assert len(overlay.sample(built.maps[0].content, 1)) in {1, 2}
