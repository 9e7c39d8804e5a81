# SPDX-License-Identifier: Apache-2.0
"""Load and unload rulesets, and find the ruleset that is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.coverage import read_coverage
from geodrop.engine import underway
from geodrop.engine.interfaces import is_pattern, select
from geodrop.errors import BusyError, DataError, GeodropError, NoInterfaceError, NotEnforcingError
from geodrop.operations.admission import accept, check_file
from geodrop.operations.change import by_me, finish_undo, open_change
from geodrop.operations.compact import compact
from geodrop.operations.decisions import decided
from geodrop.operations.exempt_sources import settle
from geodrop.operations.outcome import Outcome
from geodrop.operations.regions import warnings_of_regions
from geodrop.ruleset.model import Ruleset
from geodrop.state.lock import exclusive
from geodrop.state.names import storable
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.engine.api import Observed
    from geodrop.operations.admission import Signed
    from geodrop.operations.change import OpenChange
    from geodrop.state.entry import ChangeRequest
    from geodrop.state.unconfirmed import Unconfirmed


EXPLICIT = ("load", "reload")
"""Origins of changes by which a person asks for a ruleset."""


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Whether there was anything to remove; `warnings` as for Outcome."""

    removed: bool
    warnings: tuple[str, ...] = ()


def load(
    path: str, config: Config, engine_name: str, interfaces: Sequence[str], asked: ChangeRequest | None = None
) -> Outcome:
    """Make the kernel match the ruleset in a file. Raises BusyError, and what `apply_file` raises."""
    with exclusive():
        loaded = apply_file(path, config, engine_name, interfaces, asked or by_me("load"))
        return replace(loaded, warnings=(*loaded.warnings, *warnings_of_regions(config)))


def apply_file(  # noqa: PLR0913 - what, where, by which engine, for whom, how
    source: str | Ruleset,
    config: Config,
    engine_name: str,
    interfaces: Sequence[str],
    asked: ChangeRequest,
    *,
    quick: bool = False,
    full: bool = True,
    signed: Signed | None = None,
) -> Outcome:
    """Load a ruleset, from a file or already read; the caller holds the lock.

    `quick` as for OpenChange, `full` as for its `apply`. `signed` is what `check_file` said of a ruleset already read;
    for a file it is asked here. An explicit load or reload ends a rollback. If `asked` says so
    it has to be confirmed. While one waits, the same ruleset again sets its deadline, and another one is refused.

    Raises BusyError for that, DataError for a bad file, PrivilegeError, UnavailableError, NoInterfaceError, and
    ApplyError; after an error the old generation is still in force.
    """
    if asked.confirm_within:
        finish_undo(config)
        compact(config)  # an overlay stands on a base, and nothing can go back to both
    with open_change(config, asked, quick=quick and not asked.confirm_within) as change:
        ruleset = Ruleset.open(source, change.store.rulesets) if isinstance(source, str) else source
        if isinstance(source, str):
            signed = check_file(source, ruleset, config, change.store)
        confirm = _confirmation(change, ruleset, asked)
        # An operator sees what a load by hand selects. A reload may run unattended, while a default route moves: it
        # therefore keeps the interfaces judged now.
        held = () if asked.origin == "load" else change.before.names
        names = interfaces or config.interfaces
        selected = select(names, held)
        if not selected.names:
            raise NoInterfaceError(
                "no interface is selected, so there is none to judge packets on: none holds a default route, or no "
                "pattern matches",
                "name one with --interface, or with `interfaces` in agent.yaml",
            )
        if asked.origin in EXPLICIT:
            accept(config, change.store, change.before, ruleset, signed)
        wanted = replace(
            change.intent,
            rolled_back=change.intent.rolled_back and asked.origin not in EXPLICIT,
            undone=None if asked.origin in EXPLICIT else change.intent.undone,
            confirm=confirm,
            interfaces=storable(names),
            engine=engine_name,
        )
        report = change.apply(ruleset, selected, engine_name, wanted, full=full)
        if change.store.exemptions.read():
            settle(change.engines, change.store)
    after = change.engines.observe()
    notes = [f"no interface matches {name} now" for name in selected.absent if is_pattern(name)]
    problems = read_coverage(names, change.engines, after.interfaces).problems
    if asked.confirm_within and not change.confirm:
        same = f"ruleset {ruleset.digest[:12]} is what was asked for before"
        notes.append(f"not on trial: {same}, so nothing waits to be confirmed")
    warnings = (*change.store.unwritten(), *notes, *problems)
    return Outcome(change.before, after, report, warnings=warnings, confirm=change.confirm)


def _confirmation(change: OpenChange, ruleset: Ruleset, asked: ChangeRequest) -> Unconfirmed | None:
    """Return how long the ruleset waits to be confirmed. Raises BusyError if another one waits."""
    waiting = change.intent.confirm
    if waiting is None:
        return change.begin_window(asked)
    if ruleset.digest != change.intent.digest:
        raise BusyError(
            f"ruleset {change.intent.digest[:12]} waits to be confirmed until {utc.moment(waiting.ends)}; nothing was "
            "changed",
            f"geodrop confirm {change.intent.digest[:12]}, or geodrop rollback, and then again",
        )
    if asked.origin not in EXPLICIT:
        return waiting
    return replace(waiting, deadline=0, seconds=asked.confirm_within or waiting.seconds, why=asked.why or waiting.why)


def unload(config: Config, why: str = "") -> Unloaded:
    """Remove everything of ours from the kernel and remember that, for a reason. Raises BusyError."""
    with exclusive():
        return remove_all(config, by_me("unload", why))


def remove_all(config: Config, asked: ChangeRequest) -> Unloaded:
    """Do what `unload` does; the caller holds the lock.

    The kernel is changed first, whatever state the disk is in. After a crash in between, a boot or repair restores what
    was asked for before: no user was told that it is gone. If one engine cannot be removed although the other was, the
    unload is remembered before the error is raised: so no repair brings back the part that is gone.
    """
    with open_change(config, asked) as change:
        generation = max(change.intent.generation, change.before.generation)
        wanted = replace(
            change.intent, generation=generation, begun=0, unloaded=True, unknown="", newer=0, confirm=None
        )
        if waiting := change.intent.confirm:
            wanted = replace(wanted, digest=waiting.digest)
        with underway.making(asked.origin, 0, wanted):
            try:
                removed = change.engines.remove()
            except (GeodropError, OSError):
                if BothEngines.here().observe() != change.before:
                    change.store.note(wanted)
                raise
            change.store.note(wanted)
        change.store.retire(change.before.digest)
        change.attempt.made = removed or not change.intent.unloaded
    decided("`geodrop unload`")
    return Unloaded(removed, change.store.unwritten())


def loaded_ruleset(config: Config, observed: Observed) -> Ruleset | None:
    """Return the ruleset that the kernel says it holds; None if the state directory does not have it."""
    store = Store(config.state)
    kept = observed.digest and store.ruleset_path(observed.digest).exists()
    return store.ruleset(observed.digest) if kept else None


def what_is_loaded(config: Config) -> tuple[BothEngines, Observed, Ruleset]:
    """Return the engines, what they have in force, and the ruleset they hold, with a pause applied to it.

    Raises NotEnforcingError if nothing is in force, and DataError if the state directory does not have the ruleset.
    """
    engine = BothEngines.here()
    observed = engine.observe()
    if not observed.generation:
        raise NotEnforcingError("nothing is in force", "load a ruleset first: geodrop load FILE")
    ruleset = loaded_ruleset(config, observed)
    if ruleset is None:
        raise DataError(
            f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}", "load its file again"
        )
    return engine, observed, ruleset.paused(underway.intent(Store(config.state), observed).paused)
