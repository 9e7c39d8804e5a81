# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from geodrop.nftables import diff, render
from geodrop.nftables.model import Chain, Content, Map, MapHeader, Program, Rule, Snapshot, Surplus
from geodrop.nftables.netlink import elements
from geodrop.nftables.netlink.expressions import ACCEPT, DROP, goto
from geodrop.nftables.netlink.uapi import KeyType
from tests.support.rulesets import Service, ruleset

RULES = ruleset(Service("api", {"1.0.1.0/24": "CN", "240e::/20": "CN"}, tcp=((443, 443),)))
BUILT = render.build(RULES, 7, ["eth0"], 0)
BASE = render.base_chain(BUILT.switch)


def loaded(built: Program = BUILT) -> Snapshot:
    """Return a snapshot in which everything is as it should be."""
    return Snapshot(
        comment="geodrop",
        flags=0,
        chains={chain.name: chain for chain in (BASE, *built.chains)},
        maps={map_.header.name: map_.header for map_ in built.maps},
        sets=(),
        counters=dict.fromkeys(built.counters, (3, 4)),
        own_sets={header.name: header for header in built.sets},
    )


def wheres(snapshot: Snapshot) -> list[str]:
    """Return the places where a snapshot differs from what should be there."""
    return [difference.where for difference in diff.structure(BUILT, BASE, snapshot)]


def test_no_difference() -> None:
    """The values of counters do not matter."""
    assert wheres(loaded()) == []


def changed(name: str, chain: Chain | None) -> Snapshot:
    """Return a snapshot with one chain replaced, added or removed."""
    chains = {**loaded().chains, name: chain}
    return replace(loaded(), chains={key: value for key, value in chains.items() if value})


def test_differences_in_chains() -> None:
    """Changed, missing or additional rules show; so do a comment, a hook, and missing or additional chains."""
    chain = loaded().chains["g7-api.accepted"]
    first, second = chain.rules
    accepting = replace(first, expressions=(*first.expressions[:-1], ACCEPT))
    where = "chain g7-api.accepted"
    assert wheres(changed("g7-api.accepted", replace(chain, rules=(accepting, second)))) == [f"{where}, rule 1"]
    assert wheres(changed("g7-api.accepted", replace(chain, rules=(first,)))) == [f"{where}, rule 2"]
    assert wheres(changed("g7-api.accepted", replace(chain, rules=(*chain.rules, Rule((DROP,)))))) == [
        f"{where}, rule 3"
    ]
    assert wheres(changed("g7-api.accepted", replace(chain, comment="x"))) == [where]
    assert wheres(changed("g7-api.accepted", replace(chain, hook=render.HOOK))) == [where]
    assert wheres(changed("g7-api.accepted", None)) == [where]
    assert wheres(changed("g6-api.CN.ipv4", chain)) == ["chain g6-api.CN.ipv4"]


def test_differences_of_the_base_chain() -> None:
    """The priority and policy of the base chain are compared, not only its rules."""
    assert wheres(changed("prerouting", replace(BASE, hook=replace(render.HOOK, priority=-300)))) == [
        "chain prerouting"
    ]
    assert wheres(changed("prerouting", replace(BASE, hook=replace(render.HOOK, policy=0)))) == ["chain prerouting"]
    assert wheres(changed("prerouting", replace(BASE, rules=()))) == ["chain prerouting, rule 1"]
    assert wheres(changed("prerouting", None)) == ["chain prerouting"]


def test_differences_beside_the_chains() -> None:
    """Differences in maps, sets and counters show, and so does a dormant table."""
    header = loaded().maps["g7-api.ipv4"]
    others = {**loaded().maps, "g7-api.ipv4": replace(header, key=KeyType.IPV6_ADDR)}
    assert wheres(replace(loaded(), maps=others)) == ["map g7-api.ipv4"]
    assert wheres(replace(loaded(), maps={})) == ["map g7-api.ipv4", "map g7-api.ipv6"]
    assert wheres(replace(loaded(), maps={**loaded().maps, "x": header})) == ["map x"]
    assert wheres(replace(loaded(), sets=("mine",))) == ["set mine"]
    assert wheres(replace(loaded(), objects=((2, "mine"),))) == ["named object mine"]
    assert wheres(replace(loaded(), flowtables=("mine",))) == ["flowtable mine"]
    assert wheres(replace(loaded(), flags=1)) == ["table inet geodrop"]
    counters = dict(loaded().counters)
    del counters["api.CN.ipv4.dropped"]
    assert wheres(replace(loaded(), counters=counters)) == ["counter api.CN.ipv4.dropped"]


def test_surplus_is_told_from_what_differs() -> None:
    """Only what can be deleted without loading anything is marked as surplus."""
    more = replace(loaded(), sets=("one",), objects=((2, "two"),), flowtables=("three",))
    more = replace(more, chains={**more.chains, "four": Chain("four", "", ())})
    found = diff.structure(BUILT, BASE, more)
    assert len(found) == 4
    assert all(difference.surplus for difference in found)
    assert diff.surplus(BUILT, more) == Surplus(("four",), ("one",), ((2, "two"),), ("three",))
    assert not diff.surplus(BUILT, loaded())
    [hook] = diff.structure(BUILT, BASE, changed(BASE.name, replace(BASE, hook=None)))
    assert not hook.surplus


def test_counters_of_services_that_are_gone_may_stay() -> None:
    """Counters of removed services stay until unload; they are no difference."""
    assert wheres(replace(loaded(), counters={**loaded().counters, "old.CN.ipv4.dropped": (1, 1)})) == []


def test_differences_read_well() -> None:
    """A difference says what should be there and what is there."""
    chain = loaded().chains["g7"]
    [difference] = diff.structure(BUILT, BASE, changed("g7", replace(chain, rules=chain.rules[:-1])))
    assert difference.expected == 'goto g7.unreadable comment "judged by the source"'
    assert difference.found == "nothing"


def many(verdicts: tuple[str, ...] = ("CN", "RU")) -> Map:
    """Return a map of 2,000 intervals: 10 addresses of every 100."""
    starts = [100 * number for number in range(2_000)]
    content = Content(
        4,
        memoryview(struct.pack(">2000I", *starts)),
        memoryview(struct.pack(">2000I", *(start + 10 for start in starts))),
        memoryview(struct.pack("=2000H", *(number % 2 for number in range(2_000)))).cast("H"),
        tuple(map(goto, verdicts)),
    )
    return Map(MapHeader("g7-api.ipv4", "", KeyType.IPV4_ADDR), content)


def dump(map_: Map, size: int = 1_000) -> list[memoryview]:
    """Dump a map as the kernel does: from the highest address down, cut at any place."""
    whole = b"".join(elements.lists(map_.content, descending=True))
    items = [whole[start : start + 24 * size] for start in range(0, len(whole), 24 * size)]
    return [memoryview(item) for item in items]


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
def test_the_same_content(size: int) -> None:
    """Equal content is recognized wherever the dump is cut."""
    assert diff.content(many(), dump(many(), size)) == []


def test_the_same_content_in_another_order() -> None:
    """The order of elements does not matter: another kernel may walk its tree in another order."""
    ascending = [memoryview(piece) for piece in elements.lists(many().content)]
    assert diff.content(many(), ascending) == []


def test_an_empty_or_short_dump() -> None:
    """Lost elements are found; at most twenty intervals are listed one by one."""
    assert len(diff.content(many(), [])) == diff.EXPLAINED + 1
    half = Map(many().header, many().content.part(0, 1_990))
    differences = diff.content(many(), dump(half))
    assert [difference.found for difference in differences] == ["nothing"] * 10
    assert differences[0].where == "map g7-api.ipv4, 0.3.9.88-0.3.9.97"
    assert differences[0].expected == "goto CN"


def test_a_longer_dump() -> None:
    """An additional interval is found."""
    less = Map(many().header, many().content.part(1, 2_000))
    [difference] = diff.content(less, dump(many()))
    assert (difference.expected, difference.found) == ("nothing", "goto CN")
    assert difference.where == "map g7-api.ipv4, 0.0.0.0-0.0.0.9"


def test_another_verdict() -> None:
    """Right addresses with a wrong verdict are found."""
    differences = diff.content(many(), dump(many(("CN", "BY"))))
    assert (differences[0].expected, differences[0].found) == ("goto RU", "goto BY")
    assert len(differences) == diff.EXPLAINED + 1
    assert "980 more" in differences[-1].found
