"""Everything around a change of what is in force, in the order that makes every crash harmless.

A ruleset that is new is kept and its generation number spent before the kernel is touched; the intent is written after,
and then the history. Whoever finds the kernel ahead of the intent therefore still finds the ruleset, by the digest that
the kernel carries. Where the first two cannot be written nothing is changed.

What brings back a ruleset that is kept already (pause, resume, rollback, repair, settle, a load of it), or takes all
away, changes the kernel first. That must work on a full, read-only or failing disk, so nothing waits for it.

Once the kernel has changed, nothing fails any more: what cannot be written is kept elsewhere and told; see
state.unwritten. Whoever begins a change holds state.lock.exclusive.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from geodrop.dataplane import underway
from geodrop.dataplane.arrange import arrange
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.interfaces import select
from geodrop.dataplane.moves import moves
from geodrop.errors import ApplyError, DataError, NotEnforcingError
from geodrop.ruleset.closed import is_closed
from geodrop.state.history import Asked
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config
    from geodrop.dataplane.engine import Report
    from geodrop.dataplane.interfaces import Selection
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.history import Attempt


UNATTENDED = ("boot", "repair", "settle")
"""Origins of changes that no person asked for."""


def by_me(origin: str, why: str = "") -> Asked:
    """A change that the user of this process asked for."""
    return Asked(origin, os.getuid(), why=why)


@contextmanager
def begun(config: Config, asked: Asked, *, quick: bool = False) -> Iterator[Change]:
    """One change; how it ends is written into the history. Raises what the body and `History.attempt` do."""
    store = Store(config.state)
    with store.history.attempt(asked) as attempt:
        change = Change(config, store, attempt, asked.origin, quick=quick)
        yield change
    # Once it is in the history: what a rollback goes back to may be another policy now.
    store.prune(config.keep, {change.before.digest})


class Change:
    """A change under way: `before` is what is in force, read back, and `intent` what was asked for so far.

    A `quick` one may end in a thin generation: for who has it settled afterwards. `origin` is one of state.history's.
    """

    def __init__(
        self, config: Config, store: Store, attempt: Attempt, origin: str = "repair", *, quick: bool = False
    ) -> None:
        self.config, self.store, self.attempt = config, store, attempt
        self._quick, self._origin = quick, origin
        self.engines = Engines.here(config.loader)
        self.before = self.engines.observe()
        self.intent = store.intent()

    def put(
        self,
        ruleset: Ruleset,
        selection: Selection,
        engine: str,
        /,
        *,
        anew: bool = False,
        full: bool = True,
        **asked_for: Any,  # noqa: ANN401 - fields of Intent
    ) -> Report | None:
        """Put a ruleset in force, as a new generation unless the kernel holds just that.

        `asked_for` are fields of the intent that are to change with it; a pause that still lasts applies to whatever is
        put in force. None if nothing had to be done, which `anew` rules out. Whether the kernel holds it is told from
        all that it holds, or if not `full` from all but the elements of maps, which it lets nobody change.

        Raises what `arrange` does, and before a new ruleset is put in force what the store does, with what was before.
        """
        if self.intent.unknown and self._origin in UNATTENDED:
            raise ApplyError(f"intent.json {self.intent.unknown}: it may say unloaded or paused", "geodrop reload")
        last_good = self.intent.last_good if is_closed(ruleset.meta.compiler) else ruleset.digest
        known = {"digest": ruleset.digest, "last_good": last_good, "unloaded": False, "unknown": ""}
        wanted = replace(self.intent, **{**known, **asked_for})
        view = ruleset.paused(wanted.paused)
        holds = self.before.digest == ruleset.digest
        same = holds and not anew and not self.engines.verify(view, full=full)
        highest = max(self.intent.generation, self.before.generation)
        generation = self.before.generation if same else highest + 1
        self.describe(ruleset, generation)
        if not self.store.is_kept(ruleset.digest):
            self.store.keep(ruleset.file)
            if not same:
                self.store.remember(replace(self.intent, generation=generation))
        # What is repaired is filled as a whole: what is there is not to be trusted.
        find = self._find if self._quick and not holds else None
        wanted = replace(wanted, generation=max(highest, generation))
        with underway.making(self._origin, generation, wanted):
            report = arrange(self.engines, view, generation, selection, engine, find)
            self.store.note(wanted)
        after = self.engines.observe()
        changed = after != self.before
        if holds and not self.attempt.change:
            self.attempt.change = moves(self.before, after)
        self.attempt.made = changed or replace(wanted, generation=0) != replace(self.intent, generation=0)
        if self.before.digest != ruleset.digest:
            self.store.retire(self.before.digest)
        return report if changed else None

    def describe(self, ruleset: Ruleset, generation: int) -> None:
        """Say in the history what this is about."""
        self.attempt.generation, self.attempt.digest = generation, ruleset.digest
        self.attempt.inputs = tuple(asdict(item) for item in ruleset.meta.inputs)

    def kept(self, digest: str) -> Ruleset:
        """A ruleset that was loaded before; raises DataError if it is no longer there or is damaged."""
        if not self.store.ruleset_path(digest).exists():
            raise DataError(
                f"ruleset {digest[:12]} is not in {self.config.state} any more",
                "compile and load it again; `keep` in agent.yaml says how long rulesets are kept",
            )
        return self.store.ruleset(digest)

    def _find(self, digest: str) -> Ruleset | None:
        try:
            return self.kept(digest)
        except DataError:
            return None

    def in_place(self) -> tuple[Selection, str]:
        """Interfaces and engine as they are, for a change of what is judged and not of where.

        Raises NotEnforcingError if nothing is in force.
        """
        if not self.before.generation:
            raise NotEnforcingError("nothing is in force", "load a ruleset first: geodrop load FILE")
        names = self.before.names
        # Where auto took nftables it said why; without a reason it was meant.
        meant = names and all(one.engine == "nftables" and not one.why for one in self.before.interfaces)
        return select(names or self.config.interfaces), "nftables" if meant else self.config.engine
