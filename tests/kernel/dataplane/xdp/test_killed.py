"""A loader that dies by SIGKILL before each call that changes anything leaves the old policy or the new one, whole."""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.xdp.engine import XdpEngine
from geodrop.dataplane.xdp.loader import MAPS, PROGRAMS
from tests.kernel.dataplane.xdp.conftest import Probe, another_version
from tests.ptrace import Call, killed_before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from geodrop.dataplane.xdp.pins import Pins
    from geodrop.ruleset.model import Ruleset
    from tests.namespaces import End

pytestmark = [pytest.mark.root, pytest.mark.slow]

LONG = os.environ.get("GEODROP_TEST_LONG") == "1"
"""Every point of every load (`make test-long`), not just some of them."""

# enum bpf_cmd, what changes something: maps, elements, programs, pins, links.
CHANGES = {0, 2, 3, 5, 6, 28, 29}
READ_WRITE, SHARED = 3, 1


@dataclass(frozen=True)
class State:
    """What is in force: which policy ("a" or "b", "" for none), by which program, on which interfaces."""

    policy: str
    interfaces: tuple[str, ...] = ("eth0",)
    version: int = 1


ALL = ("eth0", "eth1", "eth2")
LOADS = {
    "a first load": (State("", ()), State("a", ALL)),
    "another policy": (State("a", ALL), State("b", ALL)),
    "more interfaces": (State("a"), State("b", ALL)),
    "fewer interfaces": (State("a", ALL), State("b")),
    "another program": (State("a", ALL, 1), State("b", ALL, 2)),
}
"""From and to."""

SOME = 5
"""Points tried in a short run where a program is loaded, which takes the kernel a second; the last is one of them."""


def changes(call: Call) -> bool:
    """Whether anybody else could see what a call does. Memory is mapped to be written, and written before the next."""
    if call.name == "bpf":
        return call.arguments[0] in CHANGES
    if call.name == "mmap":
        return call.arguments[2:4] == (READ_WRITE, SHARED)
    return True


class Bench:
    """Three interfaces, their engines and their probes."""

    def __init__(self, pins: Pins, probes: dict[str, Probe], rulesets: list[Ruleset], other: Path) -> None:
        self.pins = pins
        self._probes = probes
        self.rulesets = dict(zip("ab", rulesets, strict=True))
        self._loaders = {1: XdpEngine().loader, 2: another_version(other)}
        self._generations = itertools.count(1)

    def engine(self, version: int = 1) -> XdpEngine:
        """An engine that knows nothing but what is pinned."""
        return XdpEngine(self._loaders[version], pins=self.pins)

    def load(self, state: State) -> None:
        """Go to a state, from whatever is there."""
        if not state.policy:
            self.engine().remove()
            return
        self.engine(state.version).apply(self.rulesets[state.policy], next(self._generations), state.interfaces)

    def policies(self) -> dict[str, str]:
        """Which policy judges on each interface, by packets."""
        return {name: probe.policy() for name, probe in self._probes.items()}

    def assert_is(self, state: State) -> None:
        """All of a state and nothing else: verdicts, bytes, and no pin that is left over."""
        judging = dict.fromkeys(ALL, "") | dict.fromkeys(state.interfaces, state.policy)
        assert self.policies() == judging
        if not state.policy:
            assert not self.pins.folder.exists()
            return
        engine = self.engine(state.version)
        assert engine.verify(self.rulesets[state.policy]) == []
        assert sorted(one.name for one in engine.observe().interfaces) == sorted(state.interfaces)
        assert len(self.pins.link_indexes()) == len(state.interfaces)
        [only] = self.pins.sets()
        slots = {path.name for path in only.iterdir()} - {*PROGRAMS, *MAPS, "labels", "carried"}
        assert len(slots & {"tables0", "tables1"}) == 1, slots
        assert slots <= {"tables0", "tables1", "policy0", "policy1"}

    def assert_between(self, old: State, new: State) -> None:
        """Every interface is judged by the old policy or by the new one; and what is reported is so."""
        judging = self.policies()
        for name, policy in judging.items():
            allowed = {old.policy, new.policy}
            if name not in old.interfaces or name not in new.interfaces:
                allowed.add("")
            assert policy in allowed, judging
        observed = self.engine().observe()
        claimed = next((name for name, one in self.rulesets.items() if one.digest == observed.digest), "")
        if claimed and not self.engine().verify(self.rulesets[claimed]):
            assert {judging[interface.name] for interface in observed.interfaces} <= {claimed}, judging
        if not claimed:
            assert set(judging.values()) == {""}


@pytest.fixture
def bench(three_pairs: list[tuple[End, End]], pins: Pins, rulesets: list[Ruleset], tmp_path: Path) -> Iterator[Bench]:
    """Made in the judged host's namespace."""
    with contextlib.ExitStack() as stack:
        probes = {pair[1].name: stack.enter_context(Probe(*pair)) for pair in three_pairs}
        stack.enter_context(three_pairs[0][1].namespace.entered())
        bench = Bench(pins, probes, rulesets, tmp_path)
        yield bench
        bench.engine().remove()


@pytest.mark.parametrize("name", LOADS)
def test_a_killed_load_leaves_old_or_new(bench: Bench, name: str) -> None:
    """Killed before each call in turn: packets are judged by a whole policy on every interface, and the next load
    makes all of it true and leaves nothing of the dead one.
    """
    old, new = LOADS[name]
    for state in (old, new, old):
        bench.load(state)  # what is found out or made only once: the calls of a load are the same from here on
        bench.assert_is(state)
    points = calls_of(lambda: bench.load(new))
    steps: Sequence[int] = range(1, points + 1)
    if not LONG and (not old.policy or old.version != new.version):
        steps = [points * number // SOME for number in range(1, SOME + 1)]
    seen: set[str] = set()
    for step in steps:
        bench.load(old)
        bench.assert_is(old)
        assert killed_before(step, changes, lambda: bench.load(new)), "it ended before it could be killed"
        bench.assert_between(old, new)
        seen.add(bench.policies()["eth0"])
        bench.load(new)
        bench.assert_is(new)
    assert seen == {old.policy, new.policy}, "killed only before the switch, or only after it"


def calls_of(action: Callable[[], object]) -> int:
    """How many calls an action makes that change something."""
    made = 0

    def counted(call: Call) -> bool:
        nonlocal made
        made += changes(call)
        return False

    assert killed_before(1, counted, action) is None
    return made
