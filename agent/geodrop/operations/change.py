# SPDX-License-Identifier: Apache-2.0
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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from geodrop.dataplane import transaction
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.moves import moves
from geodrop.engine import underway
from geodrop.engine.interfaces import select
from geodrop.errors import ApplyError, DataError, GeodropError, NotEnforcingError, UnavailableError
from geodrop.operations.admission import accepted_as, require
from geodrop.operations.brought_back import brought_back
from geodrop.operations.decisions import decided
from geodrop.operations.exempt_sources import at_load
from geodrop.operations.window import ended, is_over, meant, moment_of, undo_of, with_window
from geodrop.ruleset.enforced import enforced
from geodrop.ruleset.first_boot import is_closed
from geodrop.state.asker import sudo_user
from geodrop.state.entry import Attempt, ChangeRequest
from geodrop.state.store import Store
from geodrop.state.this_boot import boot_id
from geodrop.state.unconfirmed import SECOND, Unconfirmed, undone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.config import Config
    from geodrop.engine.api import ApplyReport, Difference
    from geodrop.engine.interfaces import Selection
    from geodrop.nftables.transactions import Totals
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.intent import Intent


UNATTENDED = ("boot", "repair", "compact")
"""Origins of changes that no person asked for."""


def by_me(origin: str, why: str = "", confirm_within: int = 0) -> ChangeRequest:
    """Return the request for a change by the user of this process."""
    return ChangeRequest(origin, os.getuid(), why=why, sudo_user=sudo_user(), confirm_within=confirm_within)


@contextmanager
def open_change(config: Config, asked: ChangeRequest, *, quick: bool = False) -> Iterator[OpenChange]:
    """Open a change; how it ends is written into the history. Raises what the body and `History.attempt` raise.

    First, a load that was not confirmed in time is recorded as undone, and what was brought back after an `unload` is
    removed, so that nothing builds on it.
    """
    finish_undo(config)
    if asked.origin != "unload":
        unload_again(config, replace(asked, origin="repair"))
    store = Store(config.state)
    with store.history.attempt(asked) as attempt:
        change = OpenChange(config, store, attempt, asked.origin, quick=quick)
        yield change
    # Only when it is in the history: what the next rollback goes back to may be another policy now.
    store.prune(config.keep, {change.before.digest})


class OpenChange:
    """A change under way: `before` is what is in force, read back; `intent` is what was asked for so far, and `meant`
    the digest that should be in force.

    With `quick` the result may be an overlay: the caller must compact it. `origin` is one of state.entry's. `confirm`
    is what `apply` put in force without a confirmation.
    """

    def __init__(
        self, config: Config, store: Store, attempt: Attempt, origin: str = "repair", *, quick: bool = False
    ) -> None:
        self.config, self.store, self.attempt = config, store, attempt
        self._quick, self._origin = quick, origin
        self.confirm: Unconfirmed | None = None
        self.engines = BothEngines.here(config.loader)
        at_load(self.engines, store)
        self.before = self.engines.observe()
        attempt.previous_generation, attempt.previous_digest = self.before.generation, self.before.digest
        self.intent = with_window(store.intent(), self.before)
        self.meant = meant(self.intent, self.before)

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

        If `wanted.confirm` is set, the ruleset is not confirmed. If its deadline is 0, it waits from the switch on.

        Raises what `transaction.apply` raises, what the store raises before a new ruleset is put in force, and
        DataError if this host demands signatures and has not accepted the ruleset. After an error everything is as it
        was before.
        """
        if self.intent.unknown and self._origin in UNATTENDED:
            raise ApplyError(f"intent.json {self.intent.unknown}: it may say unloaded or paused", "geodrop reload")
        wanted = wanted or self.intent
        view = ruleset.paused(wanted.paused)
        holds = ruleset.digest in self._held_generations()
        same = holds and not rebuild and self._holds(view, wanted, full=full)
        highest = max(self.intent.generation, self.before.generation, *self._held_generations().values())
        generation, confirm = self._numbers(ruleset, wanted, highest, same=same)
        undo = undo_of(self.store, confirm, wanted.paused) if confirm else None
        require(self.config, self.store, self.before, ruleset, undo.ruleset if undo else None)
        not_good = confirm or is_closed(ruleset.meta.compiler)
        wanted = replace(
            wanted,
            generation=max(highest, generation),
            begun=0,
            digest=ruleset.digest,
            last_good=self.intent.last_good if not_good else ruleset.digest,
            confirm=confirm,
            unloaded=False,
            unknown="",
            newer=self.intent.newer if self._origin in (*UNATTENDED, "undo") else 0,
        )
        self.describe(ruleset, generation)
        if not self.store.is_kept(ruleset.digest):
            self.store.keep(ruleset.file)
            if not same:
                self.store.remember(replace(self.intent, generation=generation, begun=generation))
        # A repair fills whole maps: it does not build on elements that may be damaged.
        alone = not holds and not undo and not self.before.window and self.meant == self.before.digest
        find = self._find if self._quick and alone else None
        with underway.making(self._origin, generation, wanted):
            report = transaction.apply(
                self.engines,
                view,
                generation,
                selection,
                engine,
                find,
                counter_totals,
                undo,
                confirm.seconds * SECOND if confirm else 0,
            )
            if confirm:
                ends = moment_of(report.deadline)
                confirm = replace(confirm, deadline=report.deadline, ends=ends, boot=boot_id())
                self.attempt.confirm = ends
            wanted = replace(wanted, confirm=confirm)
            self.store.note(wanted)
        self.confirm = confirm
        after = self.engines.observe()
        changed = after != self.before or wanted.confirm != self.intent.confirm
        if holds and not self.attempt.change:
            self.attempt.change = moves(self.before, after)
        self.attempt.made = changed or replace(wanted, generation=0) != replace(self.intent, generation=0)
        if self.before.digest not in {ruleset.digest, confirm.digest if confirm else ""}:
            self.store.retire(self.before.digest)
        return report if changed else None

    def _held_generations(self) -> dict[str, int]:
        """Return the generations that the kernel holds, now in force or after a window, by digest."""
        window = self.before.window
        if window is None:
            return {self.before.digest: self.before.generation} if self.before.generation else {}
        return {window.previous_digest: window.previous, window.digest: window.generation}

    def _holds(self, view: Ruleset, wanted: Intent, *, full: bool) -> bool:
        """Tell whether the kernel holds all that it should until now, with the pause that is wanted."""
        now = self.intent.confirm
        if now is None:
            return not self.engines.verify(view, full=full)
        try:
            newest = view if view.digest == self.intent.digest else self.kept(self.intent.digest).paused(wanted.paused)
            undo = undo_of(self.store, now, wanted.paused)
        except DataError:
            return False
        return not self.engines.verify(newest, full=full, undo=undo)

    def _numbers(self, ruleset: Ruleset, wanted: Intent, highest: int, *, same: bool) -> tuple[int, Unconfirmed | None]:
        """Return the number of the generation, and what is known of its confirmation, with the number before it.

        In a window that stays, and that does not hold what it should, both are loaded again.
        """
        there, confirm = self._held_generations(), wanted.confirm
        if confirm is None or (ruleset.digest == confirm.digest and not confirm.unloaded):
            # What was asked for already needs no confirmation; what an unload has taken away does.
            return there[ruleset.digest] if same else highest + 1, None
        if same:
            window = self.before.window
            return there[ruleset.digest], replace(confirm, previous=window.previous if window else 0)
        previous = confirm.previous
        if previous and (self.intent.confirm or self._differs(confirm.digest, wanted.paused)):
            previous = highest = highest + 1
        return highest + 1, replace(confirm, generation=highest + 1, previous=previous)

    def _differs(self, digest: str, paused: int) -> bool:
        """Tell whether what is in force differs from its ruleset, so that nothing should go back to it as it is."""
        return bool(self.engines.verify(self.kept(digest).paused(paused), full=False))

    def describe(self, ruleset: Ruleset, generation: int) -> None:
        """Record the ruleset and its generation in the history entry; if it is new, what it drops too."""
        self.attempt.generation, self.attempt.digest = generation, ruleset.digest
        if ruleset.digest == self.before.digest:
            return
        if self.config.keys and (found := accepted_as(self.store, ruleset.digest)):
            self.attempt.signed_by, self.attempt.signed_key = found.principal, found.key
            self.attempt.compiled = found.compiled
        self.attempt.drops = enforced(ruleset)
        self.attempt.inputs = tuple(
            {name: value for name, value in asdict(item).items() if name != "countries"} for item in ruleset.meta.inputs
        )

    def begin_window(self, asked: ChangeRequest) -> Unconfirmed | None:
        """Return what a load that has to be confirmed goes back to; None if it need not be confirmed."""
        if not asked.confirm_within:
            return None
        nothing = not self.before.generation
        return Unconfirmed(
            previous=self.before.generation,
            digest=self.intent.digest if nothing else self.meant,
            unloaded=nothing and (self.intent.unloaded or not self.intent.digest),
            seconds=asked.confirm_within,
            why=asked.why,
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

    def go_back(self, wanted: Intent) -> ApplyReport | None:
        """End a window: put in force, for good, what was before the load that waits. `wanted` as for `apply`, whole.

        If nothing was in force, nothing is. Raises what `apply` raises.
        """
        confirm = self.intent.confirm
        if confirm and confirm.previous:
            selection, engine = self.in_place()
            return self.apply(self.kept(confirm.digest), selection, engine, replace(wanted, confirm=None))
        with underway.making(self._origin, 0, wanted):
            self.engines.retire_xdp()
            with suppress(UnavailableError):
                self.engines.nftables.retire()
            self.store.note(replace(wanted, begun=0, confirm=None))
        self.attempt.made = True
        return None


def finish_undo(config: Config, *, now: bool = False) -> None:
    """Record that the kernel has gone back from a load that was not confirmed, and tidy up behind it.

    Nothing is done while a load still waits, unless it should end `now`. What was in force before it judges already: so
    nothing fails here, and what cannot be tidied up is a difference that a repair or the next load removes.
    """
    store = Store(config.state)
    observed = BothEngines.here().observe()
    intent = with_window(store.intent(), observed)
    confirm = intent.confirm
    if confirm is None or not (now or is_over(confirm)):
        return
    wanted = undone(intent, confirm, ended(confirm))
    text = f"generation {confirm.generation} was not confirmed"
    asked = ChangeRequest("undo", os.geteuid(), change=text, why=confirm.why, since=ended(confirm))
    with store.history.attempt(asked) as attempt:
        attempt.digest = confirm.digest if confirm.previous else ""
        tidied = False
        if observed.window:
            attempt.generation = confirm.previous
            with suppress(GeodropError):
                OpenChange(config, store, attempt, "undo").go_back(wanted)
                tidied = True
        if not tidied:
            store.note(wanted)
        attempt.previous_generation, attempt.previous_digest = confirm.generation, intent.digest
        attempt.made = True
    decided(f"the undo of generation {confirm.generation}")


def unload_again(config: Config, asked: ChangeRequest | None) -> Difference | None:
    """Remove what another program has brought back after an `unload`; return what was there.

    It is recorded as `asked`; None: not recorded. The caller holds the lock. Raises what `BothEngines.remove` raises.
    """
    store, engines = Store(config.state), BothEngines.here(config.loader)
    intent = store.intent()
    found = brought_back(intent, engines.observe()) if intent.unloaded else None
    if found is None:
        return None
    recorded = store.history.attempt(asked) if asked else nullcontext(Attempt())
    with recorded as attempt, underway.making("repair", 0, intent):
        attempt.change = f"{found.where}: expected {found.expected}, found {found.found}"
        engines.remove()
        attempt.made = True
    return found
