# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from geodrop.engine.api import Scope
from geodrop.nftables import matches, names, render, text
from geodrop.nftables.netlink.expressions import ACCEPT, Bitwise, NamedCounter, Payload, VerdictMap, goto
from geodrop.nftables.stamp import Stamp
from tests.support.programs import EVERYTHING, NOW, chains, parts, reachable


def test_everything_named_is_there() -> None:
    """Every name that is used exists: chains, maps, counters; and every chain can be reached."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    maps = {map_.header.name for map_ in built.maps}
    for _, part in parts(built):
        if isinstance(part, VerdictMap):
            assert part.name in maps
        if isinstance(part, NamedCounter):
            assert part.name in built.counters
            assert names.counter(part.name)
    assert reachable(built, "g7") == set(chains(built))


def test_everything_carries_its_generation() -> None:
    """Everything is named after its generation; otherwise leftovers would not be found."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    assert {names.generation_of(name) for name in chains(built)} == {7}
    assert {names.generation_of(map_.header.name) for map_ in built.maps} == {7}


def test_masks_of_unnamed_bytes_have_no_gap() -> None:
    """Nft 1.1 lists a mask with a gap, such as 0x12, as another mask; what it saves would mean something else (decision
    19).
    """
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    rules = [rule.expressions for chain in chains(built).values() for rule in chain.rules]
    masks = [
        int.from_bytes(mask.mask, "big")
        for expressions in rules
        for load, mask in pairwise(expressions)
        if isinstance(mask, Bitwise)
        and isinstance(load, Payload)
        and (load.base, load.offset, load.length) not in text._PAYLOAD
    ]
    assert masks
    for mask in masks:
        assert "0" not in f"{mask:b}".strip("0"), hex(mask)


def test_nothing_but_the_stamp_depends_on_the_clock_of_the_load() -> None:
    """A host whose clock is a month ahead at boot, or at 1970, loads the same rules:
    the clock may be set right later.
    """
    right, ahead, behind = (render.build(EVERYTHING, 7, ["eth0"], now) for now in (NOW, NOW + 30 * 86_400, 0))
    for wrong in (ahead, behind):
        stamped = chains(wrong)["g7"]
        assert stamped.comment != chains(right)["g7"].comment
        same = replace(stamped, comment=chains(right)["g7"].comment)
        assert {**chains(wrong), "g7": same} == chains(right)
        assert (wrong.maps, wrong.counters, wrong.switch) == (right.maps, right.counters, right.switch)


def test_the_switch() -> None:
    """There is one rule for each interface, numbered, in sorted order; a repeated name counts once."""
    rules = render.switch(7, Scope(("eth1", "eth0", "eth1")))
    assert [matches.interface_name(rule.expressions[:-1]) for rule in rules] == ["eth0", "eth1"]
    assert [rule.comment for rule in rules] == ["interface 1 of 2", "interface 2 of 2"]
    assert {rule.expressions[-1] for rule in rules} == {goto("g7")}


def test_what_xdp_judges_passes_first() -> None:
    """Exempt interfaces come before every name that might match them;
    a reason is written and read back from the rule.
    """
    reason = "the interface takes none: " + "é" * 100
    exempt, named, waiting = render.switch(7, Scope(("eth1", "eth*"), (3,), {"eth1": reason}))
    assert (matches.number_of(exempt.expressions[:-1]), exempt.expressions[-1]) == (3, ACCEPT)
    assert [rule.comment for rule in (exempt, named)] == ["judged by xdp", "interface 1 of 2"]
    assert render.reason_in(named.comment) == ""
    assert len(waiting.comment.encode()) <= render.COMMENT_BYTES
    said = render.reason_in(waiting.comment)
    assert said.endswith("...")
    assert reason.startswith(said[:-3])


def test_the_stamp() -> None:
    """The generation chain states generation, digest and the time of the load."""
    entry = chains(render.build(EVERYTHING, 7, ["eth0"], NOW))["g7"]
    assert Stamp.parse(entry.comment) == Stamp(7, EVERYTHING.digest, NOW)


def test_the_same_arguments_give_the_same_program() -> None:
    """`verify` builds the program again and compares."""
    one, other = (render.build(EVERYTHING, 7, ["eth0"], NOW) for _ in range(2))
    assert (one.chains, one.counters, one.switch) == (other.chains, other.counters, other.switch)
    assert [map_.header for map_ in one.maps] == [map_.header for map_ in other.maps]
