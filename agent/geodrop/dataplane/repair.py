"""Hold the kernel against what was asked for, and put it right: somebody else flushed, changed or detached something.

A look costs one read of the table as the kernel tells it, and nothing more while that is as it was after the last look.
"""

from __future__ import annotations

import re
import socket
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.dataplane.change import Change
from geodrop.dataplane.cover import cover
from geodrop.dataplane.engine import Difference, Observed
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.interfaces import select
from geodrop.dataplane.load import what_is_loaded
from geodrop.errors import NoInterfaceError, NotEnforcingError, PrivilegeError, UnavailableError
from geodrop.state.history import Attempt
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.config import Config
    from geodrop.dataplane.interfaces import Selection
    from geodrop.ruleset.model import Ruleset
    from geodrop.state.history import Asked
    from geodrop.state.store import Intent

_NUMBERS = re.compile(r"\bg[0-9]+(?=[-. ,]|$)|\bgeneration [0-9]+")

PASSES = 3
"""How often one look repairs and looks again, while somebody changes things meanwhile."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was right when it was last looked at: what the kernel said of it, byte for byte, what that means, and what
    had been asked for: where a load has come in between, a kernel that is as empty as before is not right any more.

    `totals` are what nftables' counters go on from if they are gone: packets and bytes, by their names. `lasting` are
    differences that were there again right after they were repaired, with nobody having committed anything.
    """

    fingerprint: tuple[bytes, ...] = ()
    observed: Observed = field(default_factory=Observed)
    intent: Intent | None = None
    totals: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    lasting: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found and what is so after it; `before` is what was in force when it began.

    `differences` are what somebody changed, which is repaired. Where packets are judged may have changed without them:
    interfaces came or went. `failure` is what could not be done beside that, and should be tried again.
    """

    known: Known
    before: Observed
    differences: tuple[Difference, ...] = ()
    note: str = ""
    failure: str = ""

    @property
    def covered(self) -> bool:
        """Whether packets are judged elsewhere than before, or by another engine."""
        return self.before.interfaces != self.known.observed.interfaces


def look(  # noqa: PLR0913 - what is known, what is to be said, and why it looks
    config: Config,
    known: Known,
    asked: Asked | None,
    *,
    links_changed: bool = False,
    found: Sequence[Difference] = (),
    again: bool = False,
) -> Look:
    """Look whether all is as it should be, and repair it; what `unload` took away is left away.

    A ruleset that is gone or differs is loaded anew, as a new generation; what is in our table beside it is taken away;
    links and rules that lead to it are set again. `found` is what somebody else found to differ. What no repair lasts
    against is left alone, unless something else is wrong too or it is tried `again`. The history tells of it as
    `asked`; None: not this time. For who holds the lock. Raises DataError where the ruleset is not kept, and what a
    load does, with all as it was found.
    """
    as_before = not (links_changed or found or again) and Store(config.state).intent() == known.intent
    if as_before and Engines.here().fingerprint() == known.fingerprint:
        return Look(known, known.observed)
    before = Engines.here().observe()
    drift: list[Difference] = []
    note = ""
    tried = _Tried(() if again else known.lasting)
    for _ in range(PASSES):
        engines, store = Engines.here(), Store(config.state)
        # Read before what it stands for is verified: what changes in between shows at the next look.
        fingerprint, observed, intent = engines.fingerprint(), engines.observe(), store.intent()
        digest = observed.digest or intent.digest
        # Where it is unknown what was asked for, `Store.problems` says so, and all is left as it is.
        if intent.unknown or intent.unloaded or not digest:
            return Look(Known(fingerprint, observed, intent), before)
        ruleset = store.ruleset(digest).paused(intent.paused)
        differences = engines.verify(ruleset, full=False) or list(found)
        if differences and tried.lasts(differences, engines):
            state = Known(fingerprint, observed, intent, lasting=tuple(differences))
            return Look(state, before, tuple(drift), note)
        if differences:
            # Counted before the repair: whoever commits while it is under way has brought about what is found after it.
            tried = _Tried(differences, engines.foreign_commits())
            _repair(config, known, engines, ruleset, differences, asked)
            drift, found = drift or differences, ()
            continue
        try:
            covered = cover(config)
        except NotEnforcingError:
            continue  # taken away since it was verified
        except (UnavailableError, PrivilegeError) as error:
            # What is in force is right; it is only not where, or by which engine, it should be.
            return Look(Known(fingerprint, observed, intent), before, tuple(drift), note, error.problem)
        note = note or covered.note
        if not covered.changed:
            return Look(Known(fingerprint, observed, intent), before, tuple(drift), note)
        if not links_changed and _same_load(observed, known.observed):
            drift = drift or _moved(known.observed, observed)
    # Somebody is faster than we are; whatever he does is an event, and makes us look again.
    return Look(Known(observed=Engines.here().observe()), before, tuple(drift), note)


class _Tried:
    """Differences that are repaired, and how many commits of others there had been; None: at an earlier look."""

    def __init__(self, differences: Sequence[Difference], commits: int | None = None) -> None:
        self._differences, self._commits = _without_numbers(differences), commits

    def lasts(self, differences: Sequence[Difference], engines: Engines) -> bool:
        """Whether these are the same, or some of them, and nobody has brought them about since."""
        same = _without_numbers(differences) <= self._differences
        return same and (self._commits is None or engines.foreign_commits() == self._commits)


def _without_numbers(differences: Sequence[Difference]) -> set[tuple[str, str, str]]:
    """What differs, whatever the generation's number is meanwhile."""
    return {(unnumbered(one.where), unnumbered(one.expected), unnumbered(one.found)) for one in differences}


def unnumbered(text: str) -> str:
    """What is said of a difference, without the number of a generation: that is another one after each repair."""
    return _NUMBERS.sub("", text)


def _repair(  # noqa: PLR0913, PLR0917 - what is in force, what is wrong with it, and for whom
    config: Config,
    known: Known,
    engines: Engines,
    ruleset: Ruleset,
    differences: Sequence[Difference],
    asked: Asked | None,
) -> None:
    store = Store(config.state)
    with store.history.attempt(asked) if asked else nullcontext(Attempt()) as attempt:
        attempt.change = summary(differences)
        if all(one.surplus for one in differences):
            engines.nftables.sweep(ruleset)
            attempt.made = True
        else:
            _put_again(config, known, Change(config, store, attempt), ruleset.digest)
    store.prune(config.keep, {ruleset.digest})


def _put_again(config: Config, known: Known, change: Change, digest: str) -> None:
    change.engines.nftables.lost = known.totals
    kept = change.kept(digest)
    selection = _where(config, known)
    try:
        change.put(kept, selection, config.engine)
    except (UnavailableError, PrivilegeError):
        if config.engine != "xdp":
            raise
        # As at boot: judged by the other engine is better than by none. The next look says why, and tries again.
        change.put(kept, selection, "nftables")


def _where(config: Config, known: Known) -> Selection:
    """Where to judge packets: if what agent.yaml selects is gone for now, then where it was before."""
    selection = select(config.interfaces, known.observed.names)
    if not selection.names:
        selection = select(known.observed.names)
    if not selection.names:
        raise NoInterfaceError(
            "no interface is selected, so there is none to judge packets on", "name one in agent.yaml"
        )
    return selection


def summary(differences: Sequence[Difference]) -> str:
    """What differed, in one line."""
    first = differences[0]
    more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{first.where}: expected {first.expected}, found {first.found}{more}"


def check_share(config: Config, part: int, parts: int) -> list[Difference]:
    """Compare one of so many parts of the data in force with its ruleset, byte for byte; empty: they agree.

    Raises as `what_is_loaded` does.
    """
    engines, _, ruleset = what_is_loaded(config)
    return engines.verify_share(ruleset, part, parts)


def _same_load(before: Observed, known: Observed) -> bool:
    return (before.generation, before.digest) == (known.generation, known.digest)


def _moved(known: Observed, before: Observed) -> list[Difference]:
    """Interfaces that somebody took out of force since they were last seen to be in it.

    A program that went with its interface was taken by nobody. What is there is read after what is in force.
    """
    there = {name for _, name in socket.if_nameindex()}
    gone = [
        one for one in known.interfaces if one not in before.interfaces and (one.engine != "xdp" or one.name in there)
    ]
    return [Difference(f"interface {one.name}", f"judged by {one.engine}", "not judged by it") for one in gone]
