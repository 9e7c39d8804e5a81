# SPDX-License-Identifier: Apache-2.0
"""Compare the kernel with the intended state and repair it after another program has changed it.

An inspection reads the table once, as the kernel dumps it; while the dump equals the last one, it does nothing more.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.engine.api import Difference, Observed
from geodrop.engine.interfaces import select
from geodrop.errors import NoInterfaceError, NotEnforcingError, PrivilegeError, UnavailableError
from geodrop.operations.brought_back import brought_back
from geodrop.operations.change import OpenChange, finish_undo, unload_again
from geodrop.operations.exempt_sources import settle
from geodrop.operations.follow_interfaces import follow_interfaces
from geodrop.operations.load import what_is_loaded
from geodrop.operations.window import held, intent_of, meant, with_window
from geodrop.state.entry import DONE, FAILED, Attempt, Entry
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.config import Config
    from geodrop.engine.interfaces import Selection
    from geodrop.operations.window import ShouldHold
    from geodrop.state.entry import ChangeRequest
    from geodrop.state.exemptions import Exemption
    from geodrop.state.intent import Intent

_NUMBERS = re.compile(r"\bg[0-9]+(?=[-. ,]|$)|\bgeneration [0-9]+")

PASSES = 3
"""How often one inspection repairs and reads again, while another program keeps changing things."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The state that the last inspection found to be right, or left alone.

    `fingerprint` is what the kernel said, byte for byte, `observed` what it means, and `intent` what had been asked
    for: if a load came in between, a kernel that is as empty as before is no longer right. `totals` are the packets and
    bytes, by counter name, from which counters of nftables continue if they are gone. `lasting` are differences that
    came back right after their repair although no other program committed anything. `exempt` is who had been exempt,
    for the same reason as `intent`; None if that cannot be read.
    """

    fingerprint: tuple[bytes, ...] = ()
    observed: Observed = field(default_factory=Observed)
    intent: Intent | None = None
    totals: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    lasting: tuple[Difference, ...] = ()
    exempt: tuple[Exemption, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an inspection found; `known` is the state after it, `before` what was in force when it began.

    `differences` are what another program changed, which is repaired. Interfaces may have come or gone without any
    difference. `failure` is what else could not be done and should be tried again.
    """

    known: Baseline
    before: Observed
    differences: tuple[Difference, ...] = ()
    note: str = ""
    failure: str = ""

    @property
    def interfaces_changed(self) -> bool:
        """Whether packets are judged on other interfaces, or by another engine, than before."""
        return self.before.interfaces != self.known.observed.interfaces


def inspect(  # noqa: PLR0913 - what is known, what is recorded, and why it inspects
    config: Config,
    known: Baseline,
    asked: ChangeRequest | None,
    *,
    links_changed: bool = False,
    found: Sequence[Difference] = (),
    again: bool = False,
) -> Inspection:
    """Compare the kernel with the intended state and repair it; what `unload` removed stays away, or is removed again.

    A ruleset that is gone, differs or is an earlier one is loaded again as a new generation; foreign objects in our
    table are removed; links and the rules that lead to our chains are set again. `found` are differences that the
    caller found by itself. Differences that come back after each repair are left alone, unless something else is wrong
    too or `again` asks for one more try. A repair is recorded in the history as `asked`; None: not recorded. The caller
    holds the lock. Raises DataError if the ruleset is not kept, and what a load raises; after an error everything is as
    it was found.
    """
    asked_for = Store(config.state).intent(), Store(config.state).exemptions.read()
    as_before = not (links_changed or found or again) and asked_for == (known.intent, known.exempt)
    if as_before and BothEngines.here().fingerprint() == known.fingerprint:
        return Inspection(known, known.observed)
    finish_undo(config)
    before = BothEngines.here().observe()
    drift: list[Difference] = []
    note = ""
    tried = _Tried(() if again else known.lasting)
    for _ in range(PASSES):
        engines, store = BothEngines.here(), Store(config.state)
        # Read the fingerprint before the state is verified: a change in between then shows at the next inspection.
        fingerprint, observed = engines.fingerprint(), engines.observe()
        intent = _intent(store, observed)
        if again_there := unload_again(config, asked):
            drift.append(again_there)
            continue
        # If the intent is unknown, `Store.problems` reports that, and everything is left as it is.
        if not _maintained(intent, observed):
            return Inspection(Baseline(fingerprint, observed, intent), before, tuple(drift))
        expected = held(store, intent, observed)
        differences = _differences(engines, expected, intent, observed) or list(found)
        if differences and tried.lasts(differences, engines):
            _record_drift(store, asked, observed, drift, differences)
            state = Baseline(fingerprint, observed, intent, lasting=tuple(differences))
            return Inspection(state, before, tuple(drift), note)
        if differences:
            # Count foreign commits before the repair: a commit during the repair then explains differences found after
            # it.
            tried = _Tried(differences, engines.foreign_commits())
            _repair(config, known, engines, expected, differences, asked)
            drift, found = drift or differences, ()
            continue
        drift += _exempt_again(engines, store, asked)
        try:
            followed = follow_interfaces(config)
        except NotEnforcingError:
            continue  # removed since it was verified
        except (UnavailableError, PrivilegeError) as error:
            # The ruleset in force is right; only its interfaces or its engine are not as they should be.
            return Inspection(Baseline(fingerprint, observed, intent), before, tuple(drift), note, error.problem)
        note = note or (followed.report.note if followed.report else "")
        if not followed.changed:
            _record_drift(store, asked, observed, known.lasting, ())
            state = Baseline(fingerprint, observed, intent, exempt=store.exemptions.read())
            return Inspection(state, before, tuple(drift), note)
        drift = drift or ([] if links_changed else _moved(known.observed, observed))
    # Another program changes things faster than we repair them; its next change is an event and leads to an inspection.
    return Inspection(Baseline(observed=BothEngines.here().observe()), before, tuple(drift), note)


def _maintained(intent: Intent, observed: Observed) -> bool:
    """Whether something should be in force, as far as the intent and the kernel tell."""
    return not (intent.unknown or intent.unloaded) and bool(meant(intent, observed))


def _differences(engines: BothEngines, expected: ShouldHold, intent: Intent, observed: Observed) -> list[Difference]:
    """Compare the structure with what should be there. What was brought back is one difference."""
    if earlier := brought_back(intent, observed):
        return [earlier]
    return engines.verify(expected.ruleset, full=False, undo=expected.undo)


def _intent(store: Store, observed: Observed) -> Intent:
    """Return the intent. If a load ended before it wrote that it has to be confirmed, write that now."""
    stored = store.intent()
    intent = with_window(stored, observed)
    if intent != stored:
        store.note(intent)
    return intent


class _Tried:
    """Differences under repair, and the number of foreign commits before it; None: an earlier inspection repaired."""

    def __init__(self, differences: Sequence[Difference], commits: int | None = None) -> None:
        self._differences, self._commits = _without_numbers(differences), commits

    def lasts(self, differences: Sequence[Difference], engines: BothEngines) -> bool:
        """Whether these differences were all repaired before, and no other program committed anything since."""
        same = _without_numbers(differences) <= self._differences
        return same and (self._commits is None or engines.foreign_commits() == self._commits)


def _without_numbers(differences: Sequence[Difference]) -> set[tuple[str, str, str]]:
    """Return the differences without generation numbers, so that they can be compared across repairs."""
    return {(unnumbered(one.where), unnumbered(one.expected), unnumbered(one.found)) for one in differences}


def unnumbered(text: str) -> str:
    """Remove generation numbers from the text of a difference: each repair makes a new number."""
    return _NUMBERS.sub("", text)


def _repair(  # noqa: PLR0913, PLR0917 - what is in force, what is wrong with it, and for whom
    config: Config,
    known: Baseline,
    engines: BothEngines,
    expected: ShouldHold,
    differences: Sequence[Difference],
    asked: ChangeRequest | None,
) -> None:
    store = Store(config.state)
    with store.history.attempt(asked) if asked else nullcontext(Attempt()) as attempt:
        attempt.change = summary(differences)
        if all(one.surplus for one in differences):
            engines.nftables.sweep(expected.ruleset, expected.undo)
            attempt.made = True
        else:
            _load_again(config, known, OpenChange(config, store, attempt), expected.ruleset.digest)
    store.prune(config.keep, {expected.ruleset.digest})


def _record_drift(
    store: Store,
    asked: ChangeRequest | None,
    observed: Observed,
    before: Sequence[Difference],
    differences: Sequence[Difference],
) -> None:
    """Record that differences that were there `before` a repair are there right after it, or that they are gone."""
    if asked is None or not before:
        return
    drift = Entry(
        time=round(time.time(), 3),
        origin="drift",
        outcome=FAILED if differences else DONE,
        uid=asked.uid,
        change=summary(differences) if differences else "the kernel is as it should be again",
        why=asked.why,
        error="it was there again right after its repair" if differences else "",
        previous_generation=observed.generation,
        previous_digest=observed.digest,
        since=asked.since,
    )
    store.history.append(drift)


def _exempt_again(engines: BothEngines, store: Store, asked: ChangeRequest | None) -> list[Difference]:
    """Let those sources pass that are exempt, for the rest of their time, and no others."""
    with store.history.attempt(asked) if asked else nullcontext(Attempt()) as attempt:
        differences = settle(engines, store)
        if differences:
            attempt.change, attempt.made = summary(differences), True
    return differences


def _load_again(config: Config, known: Baseline, change: OpenChange, digest: str) -> None:
    kept = change.kept(digest)
    selection = _where(config, known)
    try:
        change.apply(kept, selection, config.engine, counter_totals=known.totals)
    except (UnavailableError, PrivilegeError):
        if config.engine != "xdp":
            raise
        # As at boot, judging by nftables is better than not at all. The next inspection reports why, and tries xdp
        # again.
        change.apply(kept, selection, "nftables", counter_totals=known.totals)


def _where(config: Config, known: Baseline) -> Selection:
    """Return where to judge packets: what agent.yaml selects; if none of it exists, where they were judged before."""
    selection = select(config.interfaces, known.observed.names)
    if not selection.names:
        selection = select(known.observed.names)
    if not selection.names:
        raise NoInterfaceError(
            "no interface is selected, so there is none to judge packets on", "name one in agent.yaml"
        )
    return selection


def summary(differences: Sequence[Difference]) -> str:
    """Describe the differences in one line."""
    first = differences[0]
    more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{first.where}: expected {first.expected}, found {first.found}{more}"


def check_share(config: Config, part: int, parts: int) -> list[Difference]:
    """Compare part `part` (from 0) of `parts` parts of the data in force with its ruleset, byte for byte.

    Returns the differences; all parts together cover the data. Raises as `what_is_loaded`.
    """
    engines, observed, _ = what_is_loaded(config)
    store = Store(config.state)
    expected = held(store, intent_of(store, observed), observed)
    return engines.verify_share(expected.ruleset, part, parts, expected.undo)


def _same_load(before: Observed, known: Observed) -> bool:
    return (before.generation, before.digest) == (known.generation, known.digest)


def _moved(known: Observed, before: Observed) -> list[Difference]:
    """Return the interfaces that another program took out of force since the last inspection.

    After another load there are none. An xdp program that disappeared together with its interface does not count. The
    interfaces present are read after what is in force.
    """
    if not _same_load(before, known):
        return []
    there = {name for _, name in socket.if_nameindex()}
    gone = [
        one for one in known.interfaces if one not in before.interfaces and (one.engine != "xdp" or one.name in there)
    ]
    return [Difference(f"interface {one.name}", f"judged by {one.engine}", "not judged by it") for one in gone]
