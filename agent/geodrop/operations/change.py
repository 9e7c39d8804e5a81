"""Run a change of what is in force, in an order that makes a crash at any point harmless.

For a new ruleset, the ruleset is kept and its generation number spent before the kernel is touched; then the intent and
the history are written. A process that finds the kernel ahead of the intent therefore still finds the ruleset, by the
digest that the kernel carries. If the ruleset or the number cannot be written, nothing is changed.

A change to a ruleset that is already kept (pause, resume, rollback, repair, compact, loading it again) and `unload`
change the kernel first. They must work on a full, read-only or failing disk, so they wait for no write.

Once the kernel has changed, nothing fails any more: what cannot be written is kept elsewhere and reported; see
state.unwritten. The caller holds state.lock.exclusive.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from geodrop.dataplane import transaction
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.moves import moves
from geodrop.engine import underway
from geodrop.engine.interfaces import select
from geodrop.errors import ApplyError, DataError, NotEnforcingError
from geodrop.operations.exempt_sources import at_load
from geodrop.ruleset.first_boot import is_closed
from geodrop.state.asker import sudo_user
from geodrop.state.history import ChangeRequest
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config
    from geodrop.engine.api import ApplyReport
    from geodrop.engine.interfaces import Selection
    from geodrop.nftables.transactions import Totals
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.history import Attempt
    from geodrop.state.store import Intent


UNATTENDED = ("boot", "repair", "compact")
"""Origins of changes that no person asked for."""


def by_me(origin: str, why: str = "") -> ChangeRequest:
    """Return the request for a change by the user of this process."""
    return ChangeRequest(origin, os.getuid(), why=why, sudo_user=sudo_user())


@contextmanager
def open_change(config: Config, asked: ChangeRequest, *, quick: bool = False) -> Iterator[OpenChange]:
    """Open a change; how it ends is written into the history. Raises what the body and `History.attempt` raise."""
    store = Store(config.state)
    with store.history.attempt(asked) as attempt:
        change = OpenChange(config, store, attempt, asked.origin, quick=quick)
        yield change
    # Only when it is in the history: what the next rollback goes back to may be another policy now.
    store.prune(config.keep, {change.before.digest})


class OpenChange:
    """A change under way: `before` is what is in force, read back; `intent` is what was asked for so far.

    With `quick` the result may be an overlay: the caller must compact it. `origin` is one of state.history's.
    """

    def __init__(
        self, config: Config, store: Store, attempt: Attempt, origin: str = "repair", *, quick: bool = False
    ) -> None:
        self.config, self.store, self.attempt = config, store, attempt
        self._quick, self._origin = quick, origin
        self.engines = BothEngines.here(config.loader)
        at_load(self.engines, store)
        self.before = self.engines.observe()
        self.intent = store.intent()

    def apply(  # noqa: PLR0913 - what, where, by which engine, what else is wanted, how
        self,
        ruleset: Ruleset,
        selection: Selection,
        engine: str,
        wanted: Intent | None = None,
        *,
        rebuild: bool = False,
        full: bool = True,
        counter_totals: Totals | None = None,
    ) -> ApplyReport | None:
        """Put a ruleset in force, as a new generation unless the kernel already holds exactly this ruleset.

        `wanted` is the intent with all that this change alters except the ruleset, which is filled in here. A pause
        that has not ended applies to the new ruleset. Returns None if nothing had to be done; `rebuild` always
        rebuilds. Whether the kernel holds the ruleset is decided by comparing everything; without `full`, the elements
        of maps are left out, which the kernel lets nobody change. Counters of nftables that are gone continue from
        `counter_totals`, by name.

        Raises what `transaction.apply` raises, and what the store raises before a new ruleset is put in force. After an
        error everything is as it was before.
        """
        if self.intent.unknown and self._origin in UNATTENDED:
            raise ApplyError(f"intent.json {self.intent.unknown}: it may say unloaded or paused", "geodrop reload")
        last_good = self.intent.last_good if is_closed(ruleset.meta.compiler) else ruleset.digest
        wanted = replace(wanted or self.intent, digest=ruleset.digest, last_good=last_good, unloaded=False, unknown="")
        view = ruleset.paused(wanted.paused)
        holds = self.before.digest == ruleset.digest
        same = holds and not rebuild and not self.engines.verify(view, full=full)
        highest = max(self.intent.generation, self.before.generation)
        generation = self.before.generation if same else highest + 1
        self.describe(ruleset, generation)
        if not self.store.is_kept(ruleset.digest):
            self.store.keep(ruleset.file)
            if not same:
                self.store.remember(replace(self.intent, generation=generation))
        # A repair fills whole maps: it does not build on elements that may be damaged.
        find = self._find if self._quick and not holds else None
        wanted = replace(wanted, generation=max(highest, generation))
        with underway.making(self._origin, generation, wanted):
            report = transaction.apply(self.engines, view, generation, selection, engine, find, counter_totals)
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
        """Record the ruleset and its generation in the history entry."""
        self.attempt.generation, self.attempt.digest = generation, ruleset.digest
        self.attempt.inputs = tuple(
            {name: value for name, value in asdict(item).items() if name != "countries"} for item in ruleset.meta.inputs
        )

    def kept(self, digest: str) -> Ruleset:
        """Return a ruleset that was loaded before. Raises DataError if it is gone or damaged."""
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
        """Return the interfaces and engine in force, for a change that does not move where packets are judged."""
        if not self.before.generation:
            raise NotEnforcingError("nothing is in force", "load a ruleset first: geodrop load FILE")
        names = self.before.names
        # Where `auto` fell back to nftables, an interface carries the reason; without a reason nftables was asked for.
        meant = names and all(one.engine == "nftables" and not one.why for one in self.before.interfaces)
        return select(names or self.config.interfaces), "nftables" if meant else self.config.engine
