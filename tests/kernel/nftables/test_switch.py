# SPDX-License-Identifier: Apache-2.0
"""A window on nftables: packets on both sides of its deadline, with nobody running, and each way to end it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.api import Difference, Observed, Scope, Undo
from geodrop.errors import ApplyError
from geodrop.linux.clock import monotonic
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink import windows
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.namespaces import End, PacketSender, join, namespaces
from tests.support.rulesets import Service, ruleset
from tests.support.waiting import LASTING, until

if TYPE_CHECKING:
    from geodrop.nftables.netlink.wire import NetlinkRequest
    from geodrop.ruleset.model import Ruleset
    from tests.support.namespaces import Namespace

SECOND = 10**9
LONG = 600 * SECOND
OLD = ruleset(Service("api", {"1.0.1.0/24": "CN"}))
NEW = ruleset(Service("api", {"1.0.2.0/24": "RU"}))
HERE = Scope(("edge0",))


def load(
    new: Ruleset | None = NEW, old: Ruleset | None = OLD, lasting: int = LONG, numbers: tuple[int, int] = (1, 2)
) -> int:
    """Put `new` in force on edge0 until a deadline, which is returned, and `old` from then on."""
    engine = NftablesEngine()
    if old and not engine.observe().generation:
        engine.apply(old, numbers[0], HERE.names)
    with engine.staged(new or NEW, numbers[1], undo=Undo(numbers[0] if old else 0, old)) as staged:
        deadline = monotonic() + lasting
        staged.switch(HERE, deadline)
    return deadline


def confirm(new: Ruleset = NEW, generation: int = 2) -> None:
    """Switch to the generation for good."""
    with NftablesEngine().staged(new, generation) as staged:
        staged.switch(HERE)


def where(differences: list[Difference]) -> list[str]:
    """Return the places that differ."""
    return [one.where for one in differences]


def test_a_window_is_observed_and_verified(netns: Namespace) -> None:
    """Both generations are there, the newer is in force; nft lists the window, and a second time with less left."""
    deadline = load()
    found = NftablesEngine().observe()
    assert found == Observed(2, NEW.digest, found.interfaces)
    assert [one.name for one in found.interfaces] == ["edge0"]
    window = found.window
    assert window is not None
    assert (window.generation, window.previous, window.over) == (2, 1, False)
    assert (window.digest, window.previous_digest) == (NEW.digest, OLD.digest)
    assert abs(window.deadline - deadline) < SECOND
    assert NftablesEngine().verify(NEW, undo=Undo(1, OLD, deadline)) == []
    text = netns.run("nft", "list", "chain", "inet", "geodrop", "prerouting")
    assert 'iifname "edge0" meta mark & 0x00000000 == @g2.window goto g2' in text
    assert "expires 9m" in netns.run("nft", "list", "set", "inet", "geodrop", "g2.window")


def test_what_a_window_lacks_is_a_difference(netns: Namespace) -> None:
    """The end of the window is compared, the older generation too, and that there should be a window at all."""
    deadline = load()
    engine, undo = NftablesEngine(), Undo(1, OLD, deadline)
    assert where(engine.verify(NEW)) == ["chain prerouting"]
    assert where(engine.verify(NEW, undo=Undo(1, OLD, deadline + 5 * SECOND))) == ["set g2.window"]
    netns.run("nft", "delete", "element", "inet", "geodrop", "g2.window", "{ 0x0 }")
    assert engine.observe().generation == 1
    assert where(engine.verify(NEW, undo=undo)) == ["set g2.window"]
    netns.run("nft", "add", "element", "inet", "geodrop", "g2.window", "{ 0x0 }")
    assert where(engine.verify(NEW, undo=undo)) == ["set g2.window"]
    netns.run("nft", "delete", "element", "inet", "geodrop", "g2.window", "{ 0x0 }")
    netns.run("nft", "flush", "chain", "inet", "geodrop", "g1-api.CN.ipv4")
    assert "chain g1-api.CN.ipv4, rule 1" in where(engine.verify(NEW, undo=undo))
    confirmed = ruleset(Service("api", {"1.0.3.0/24": "RU"}))
    assert where(engine.verify(NEW, undo=Undo(1, confirmed, deadline))) == ["chain g1"]


def test_a_saved_window_loads_again(netns: Namespace) -> None:
    """What `nft list ruleset` prints in a window can be loaded: both generations, and the rest of the time."""
    deadline = load()
    saved = netns.run("nft", "list", "table", "inet", "geodrop")
    netns.run("nft", "delete", "table", "inet", "geodrop")
    netns.nft(saved)
    found = NftablesEngine().observe()
    assert (found.generation, found.digest) == (2, NEW.digest)
    assert found.window is not None
    assert deadline - 5 * SECOND < found.window.deadline < deadline + 60 * SECOND


def test_confirming_leaves_one_generation(netns: Namespace) -> None:
    """The table is then as after a load without a window."""
    load()
    confirm()
    engine = NftablesEngine()
    assert engine.observe().window is None
    assert engine.verify(NEW) == []
    confirmed = netns.run("nft", "list", "table", "inet", "geodrop")
    assert "window" not in confirmed
    assert "goto g1" not in confirmed


def test_going_back_leaves_the_older_generation(netns: Namespace) -> None:
    """A rollback inside the window needs no fill; nothing of the newer generation stays."""
    load()
    confirm(OLD, 1)
    assert NftablesEngine().verify(OLD) == []
    assert "g2" not in netns.run("nft", "list", "table", "inet", "geodrop")


def test_a_window_is_set_again(netns: Namespace) -> None:
    """The new deadline holds, shorter or longer, by one transaction that leaves the rules alone."""
    load()
    rules = netns.run("nft", "-a", "list", "chain", "inet", "geodrop", "prerouting")
    for lasting in (LONG // 2, 2 * LONG):
        deadline = load(lasting=lasting)
        assert NftablesEngine().verify(NEW, undo=Undo(1, OLD, deadline)) == []
    assert netns.run("nft", "-a", "list", "chain", "inet", "geodrop", "prerouting") == rules


def test_who_is_held_up_sets_the_end_again(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host the kernel is told how long the window lasts when that is true no more: once, or ever again."""
    add, late = windows.add_element, [700, 300]

    def held_up(name: str, milliseconds: int) -> NetlinkRequest:
        return add(name, milliseconds + (late.pop() if late else 0))

    monkeypatch.setattr(windows, "add_element", held_up)
    deadline = load()
    assert NftablesEngine().verify(NEW, undo=Undo(1, OLD, deadline)) == []
    late += [500] * 1000
    with pytest.raises(ApplyError, match=r"in set g2\.window: expected .* left, found .* left"):
        load(lasting=LONG // 2)
    late.clear()
    assert NftablesEngine().observe().generation == 2
    assert "g2.window" in netns.run("nft", "list", "chain", "inet", "geodrop", "prerouting")


def test_too_late(netns: Namespace) -> None:
    """A window that is over cannot be confirmed, whether that is known before or the kernel finds it in the batch."""
    load()
    engine = NftablesEngine()
    with pytest.raises(ApplyError, match=r"end g2\.window"), engine.staged(NEW, 2) as staged:  # noqa: PT012 - a race
        netns.run("nft", "delete", "element", "inet", "geodrop", "g2.window", "{ 0x0 }")
        staged.switch(HERE)
    assert engine.observe().generation == 1
    with pytest.raises(ApplyError, match="too late"), engine.staged(NEW, 2) as staged:
        staged.switch(HERE)
    assert engine.observe().window
    assert engine.verify(NEW, undo=Undo(1, OLD, monotonic() - SECOND)) == []
    with pytest.raises(ApplyError, match="too late"):
        confirm()
    confirm(OLD, 1)
    assert engine.verify(OLD) == []


def test_a_switch_that_fails_restores_the_window(netns: Namespace) -> None:
    """The rest of the time is restored too."""
    del netns
    deadline = load()
    engine = NftablesEngine()
    with pytest.raises(RuntimeError), engine.staged(NEW, 2) as staged:  # noqa: PT012 - it fails after the switch
        staged.switch(HERE)
        raise RuntimeError
    assert engine.verify(NEW, undo=Undo(1, OLD, deadline)) == []


def test_both_are_filled_again(netns: Namespace) -> None:
    """As a repair does it: after a flush, both generations come back under new numbers, with the rest of the time."""
    deadline = load()
    netns.run("nft", "delete", "table", "inet", "geodrop")
    engine = NftablesEngine()
    with engine.staged(NEW, 4, undo=Undo(3, OLD)) as staged:
        staged.switch(HERE, deadline)
    assert engine.verify(NEW, undo=Undo(3, OLD, deadline)) == []
    # And beside a window that is still there, as for a pause.
    with engine.staged(OLD, 6, undo=Undo(5, NEW)) as staged:
        staged.switch(HERE, deadline)
    assert engine.verify(OLD, undo=Undo(5, NEW, deadline)) == []
    assert "g4" not in netns.run("nft", "list", "table", "inet", "geodrop")


@pytest.mark.parametrize("old", [OLD, None], ids=["a generation", "nothing"])
def test_the_kernel_goes_back_by_itself(kernel: None, old: Ruleset | None) -> None:
    """The process that loads is gone; packets are judged by the newer generation, then by what was there before."""
    del kernel
    with namespaces("edge", "net") as [edge, net], edge.entered():
        near, far = End(edge, "edge0", ("192.0.2.1/24",)), End(net, "net0", ("192.0.2.2/24",))
        join(near, far)
        edge.nft(
            "table inet counting { chain pre { type filter hook prerouting priority -400; "
            "ip saddr 1.0.1.1 counter name a; ip saddr 1.0.2.1 counter name b; }; counter a {}; counter b {}; }"
        )
        with PacketSender(far, near) as sender:
            seen = False
            for seconds in LASTING:
                NftablesEngine().remove()
                if (child := os.fork()) == 0:
                    load(old=old, lasting=seconds * SECOND)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                if seen := passing(edge, sender) == {"a"}:
                    break
            assert seen
            until(lambda: passing(edge, sender) != {"a"})
            assert passing(edge, sender) == ({"b"} if old else {"a", "b"})
        found = NftablesEngine().observe()
        assert (found.generation, found.digest) == ((1, OLD.digest) if old else (0, ""))
        assert found.window is not None
        assert found.window.over


def passing(edge: Namespace, sender: PacketSender) -> set[str]:
    """Send a packet from each of two sources; return those that are not dropped: a is denied by OLD, b by NEW."""
    edge.run("nft", "reset", "counters", "table", "inet", "counting")
    packets = [Packet(source, "192.0.2.1") for source in ("1.0.1.1", "1.0.2.1")]
    sender.send(encode(packet, 1) for packet in packets)
    text = edge.run("nft", "list", "counters", "table", "inet", "counting")
    return {name for name in "ab" if f"counter {name} {{\n\t\tpackets 1 " in text}
