"""Hold the kernel against what was asked for, and put it right: somebody else flushed, changed or detached something.

A look costs one read of the table as the kernel tells it, and nothing more while that is as it was after the last look.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.dataplane.change import Change
from geodrop.dataplane.cover import cover
from geodrop.dataplane.engine import Difference, Observed
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.interfaces import select
from geodrop.dataplane.load import what_is_loaded
from geodrop.errors import NoInterfaceError
from geodrop.state.history import Attempt
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.dataplane.interfaces import Selection
    from geodrop.state.history import Asked


@dataclass(frozen=True, slots=True)
class Known:
    """What was right when it was last looked at: what the kernel said of it, byte for byte, and what that means."""

    fingerprint: tuple[bytes, ...] = ()
    observed: Observed = field(default_factory=Observed)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found and what is so after it; `before` is what was in force when it began.

    `differences` are what somebody changed, which is repaired. Where packets are judged may have changed without them:
    interfaces came or went.
    """

    known: Known
    before: Observed
    differences: tuple[Difference, ...] = ()
    note: str = ""

    @property
    def covered(self) -> bool:
        """Whether packets are judged elsewhere than before, or by another engine."""
        return self.before.interfaces != self.known.observed.interfaces


def look(
    config: Config,
    known: Known,
    asked: Asked | None,
    *,
    links_changed: bool = False,
    found: Sequence[Difference] = (),
) -> Look:
    """Look whether all is as it should be, and repair it; what `unload` took away is left away.

    A ruleset that is gone or differs is loaded anew, as a new generation; links and rules that lead to it are set
    again. `found` is what somebody else found to differ. The history tells of it as `asked`; None: not this time. For
    who holds the lock. Raises DataError where the ruleset is not kept, and what a load does, with all as it was found.
    """
    engines = Engines.here()
    fingerprint = engines.fingerprint()
    if fingerprint == known.fingerprint and not links_changed and not found:
        return Look(known, known.observed)
    store = Store(config.state)
    intent, before = store.intent(), engines.observe()
    digest = before.digest or intent.digest
    if intent.unloaded or not digest:
        return Look(Known(fingerprint, before), before)
    with store.history.attempt(asked) if asked else nullcontext(Attempt()) as attempt:
        change = Change(config, store, attempt)
        ruleset, path = change.kept(digest)
        differences = engines.verify(ruleset.paused(intent.paused), full=False) or list(found)
        note = ""
        if differences:
            attempt.change = summary(differences)
            change.put(ruleset, path, _where(config, known), config.engine)
        else:
            covered = cover(config)
            note = covered.note
            if covered.changed and not links_changed and _same_load(before, known.observed):
                differences = _moved(known.observed, before)
    # Read before what it stands for: a change in between shows at the next look.
    fingerprint = engines.fingerprint()
    return Look(Known(fingerprint, engines.observe()), before, tuple(differences), note)


def _where(config: Config, known: Known) -> Selection:
    """Where to judge packets: if what agent.yaml selects is gone for now, then where it was before."""
    selection = select(config.interfaces)
    if not selection.names:
        selection = select([one.name for one in known.observed.interfaces])
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
    """Interfaces that somebody took out of force since they were last seen to be in it."""
    gone = [one for one in known.interfaces if one not in before.interfaces]
    return [Difference(f"interface {one.name}", f"judged by {one.engine}", "not judged by it") for one in gone]
