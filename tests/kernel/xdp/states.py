# SPDX-License-Identifier: Apache-2.0
"""Change from one state of the kernel to another: what must hold in each state, and in between."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.xdp.libbpf_loader import OBJECTS, LibbpfLoader
from geodrop.xdp.loader import MAPS, PROGRAMS
from tests.support.engines import XdpEngine

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.kernel.xdp.probe import Probe


@dataclass(frozen=True)
class State:
    """What is in force: which policy ("a" or "b", "" for none), which program, on which interfaces."""

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
"""Old and new state, by the name of the change."""


class Bench:
    """Three interfaces with their engines and probes."""

    def __init__(self, pins: Pins, probes: dict[str, Probe], rulesets: list[Ruleset], other: Path) -> None:
        self.pins = pins
        self._probes = probes
        self.rulesets = dict(zip("ab", rulesets, strict=True))
        self._loaders = {1: XdpEngine().loader, 2: another_version(other)}
        self._generations = itertools.count(1)

    def engine(self, version: int = 1) -> XdpEngine:
        """Return an engine that knows only what is pinned."""
        return XdpEngine(self._loaders[version], pins=self.pins)

    def load(self, state: State) -> str:
        """Change to a state from any other; return the note about what failed after the switch."""
        if not state.policy:
            self.engine().remove()
            return ""
        engine = self.engine(state.version)
        return engine.apply(self.rulesets[state.policy], next(self._generations), state.interfaces).note

    def policies(self) -> dict[str, str]:
        """Return the policy that judges on each interface, found out by packets."""
        return {name: probe.policy() for name, probe in self._probes.items()}

    def assert_is(self, state: State) -> None:
        """Check verdicts and bytes of a state, and that no other pin is left."""
        judging = dict.fromkeys(ALL, "") | dict.fromkeys(state.interfaces, state.policy)
        assert self.policies() == judging
        if not state.policy:
            assert not self.pins.sets()
            assert not self.pins.link_indexes()
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
        """Check that every interface is judged by the old or the new policy, and that this is what the
        engine reports.
        """
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


def another_version(folder: Path) -> LibbpfLoader:
    """Return a loader of the same program in other bytes."""
    for name in ("geodrop.bpf.o", "geodrop_no_clock.bpf.o"):
        # Bytes behind the section headers belong to no section: they change nothing but the program's hash.
        (folder / name).write_bytes((OBJECTS / name).read_bytes() + b"another version")
    return LibbpfLoader(folder)
