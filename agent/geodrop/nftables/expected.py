# SPDX-License-Identifier: Apache-2.0
"""What the table should hold, given what is in force: one generation, or two while the newer one is not confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.engine.api import Difference
from geodrop.linux import clock
from geodrop.nftables import bases, diff, names, render

if TYPE_CHECKING:
    from geodrop.engine.api import Undo
    from geodrop.nftables.model import Chain, Map, Program, Snapshot, Surplus
    from geodrop.nftables.readback import InForce, Led
    from geodrop.ruleset.model import Ruleset


@dataclass(frozen=True, slots=True)
class Expected:
    """The programs of the generations that rules lead to, the newer one first; and the base chain.

    `window` names the set that ends the newer one, which it does at `deadline`; empty without a window.
    """

    programs: tuple[Program, ...]
    base_chain: Chain
    window: str = ""
    deadline: int = 0

    @property
    def maps(self) -> list[Map]:
        """The maps of all programs."""
        return [map_ for program in self.programs for map_ in program.maps]

    def differences(self, snapshot: Snapshot) -> list[Difference]:
        """Compare everything except the elements of maps."""
        first, *beside = self.programs
        found = diff.structure(first, self.base_chain, snapshot, beside, self.window)
        if self.window and self.window in snapshot.windows:
            found += diff.expiry(self.window, snapshot.windows[self.window], self.deadline, clock.monotonic())
        elif self.window:
            found.append(Difference(f"set {self.window}", "a set", diff.ABSENT))
        return found

    def surplus(self, snapshot: Snapshot) -> Surplus:
        """Return what is in the table beyond this."""
        first, *beside = self.programs
        return diff.surplus(first, snapshot, beside, self.window)


def expected(
    snapshot: Snapshot, found: InForce, ruleset: Ruleset, undo: Undo | None
) -> tuple[Expected | None, list[Difference]]:
    """Return what should be there if the kernel holds this ruleset, and with `undo` what it goes back to.

    If that cannot be told from what leads to generations, return None and how it differs.
    """
    if (found.window is None) != (undo is None):
        words = "a window", "no window"
        wanted, there = words if undo else words[::-1]
        return None, [Difference(f"chain {names.BASE}", wanted, there)]
    pairs = _pairs(found, ruleset, undo)
    if unread := [led for led, _ in pairs if led.stamp is None]:
        return None, [Difference(f"chain {names.generation_chain(unread[0].generation)}", "a stamp", "none")]
    base, gone = bases.in_force(snapshot, found)
    if gone:
        return None, gone
    programs = tuple(
        render.build(one, led.generation, (), led.stamp.loaded if led.stamp else 0, base, regions=led.regions)
        for led, one in pairs
    )
    previous = found.window.previous.generation if found.window else None
    chain = render.base_chain(render.switch(pairs[0][0].generation, found.scope, previous))
    window = names.window(pairs[0][0].generation) if undo else ""
    return Expected(programs, chain, window, undo.deadline if undo else 0), []


def digests(found: InForce, ruleset: Ruleset, undo: Undo | None) -> list[Difference]:
    """Compare which rulesets the generations say they hold."""
    return [
        Difference(
            f"chain {names.generation_chain(led.generation)}", f"digest {one.digest}", f"digest {led.digest or 'none'}"
        )
        for led, one in _pairs(found, ruleset, undo)
        if led.digest != one.digest
    ]


def _pairs(found: InForce, ruleset: Ruleset, undo: Undo | None) -> list[tuple[Led, Ruleset]]:
    """Return what leads to each generation, with the ruleset that it should hold."""
    if found.window is None:
        return [(found, ruleset)]
    previous = undo and undo.ruleset
    return [(found.window.new, ruleset), *([(found.window.previous, previous)] if previous else [])]
