"""Before the network is up: bring the last good ruleset back, without policy, database or interfaces.

On nftables alone, whose rules wait for interfaces to come: those that agent.yaml names, and if it names none every one
but those that are only taken when they are named. Where agent.yaml cannot be used, those of the last load. xdp takes
over from there as soon as somebody loads or reloads.

Writing comes last, and that it fails is no reason not to enforce: a boot with a full disk is a boot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.engine.interfaces import meant
from geodrop.errors import DataError, GeodropError
from geodrop.ruleset.first_boot import build_closed
from geodrop.ruleset.model import Ruleset
from geodrop.state.history import DONE, FAILED, ChangeRequest, Entry, policies
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed


@dataclass(frozen=True, slots=True)
class Booted:
    """What is in force now, a line that says why, and what was less than good on the way, a line each.

    `alarm`: nothing is in force, and nobody wanted that.
    """

    observed: Observed
    text: str
    warnings: tuple[str, ...] = ()
    alarm: bool = False


def boot(config: Config, asked: ChangeRequest, now: float) -> Booted:
    """Put the last good ruleset in force; for want of it the newest readable one before it, or what `first_boot` says.

    What is in force already stays, and after `unload` nothing is loaded. `now` in seconds since the epoch; what `asked`
    says of a change goes into the history. For who holds the lock. Raises UnavailableError, PrivilegeError or
    ApplyError where nftables does not take it.
    """
    store, engines = Store(config.state), BothEngines.here()
    before, intent = engines.observe(), store.intent()
    if before.generation:
        return Booted(before, f"generation {before.generation} is in force already; nothing to do")
    if intent.unloaded:
        return Booted(before, "unloaded on request; nothing to do")
    if intent.unknown and config.first_boot == "open":
        text = f"nothing is in force: intent.json {intent.unknown}; it may say unloaded or paused. See: geodrop status"
        return Booted(before, text, tuple(store.problems()), alarm=True)
    found, warnings = (None, []) if intent.unknown else _readable(store)
    warnings += store.problems()
    last = Entry(now, asked.origin, DONE, asked.uid, intent.generation + 1)
    if found is None and config.first_boot == "open":
        text = "nothing is in force: there is no last good ruleset (first_boot: open)"
        store.history.append(replace(last, outcome=FAILED, generation=0, error=text))
        return Booted(before, text, (*warnings, *store.unwritten()), alarm=True)
    ruleset = found or Ruleset.unpack(build_closed(), "first boot")
    names = meant(config.interfaces, network=None)
    with underway.making(asked.origin, last.generation, intent):
        report = engines.nftables.apply(ruleset.paused(intent.paused), last.generation, names)
    text = f"generation {last.generation}: ruleset {ruleset.digest[:12]} in force on {', '.join(names)}"
    if not found:
        text += "; there is no last good one (first_boot: closed)"
        try:
            store.keep_bytes(build_closed(), ruleset.digest)
        except GeodropError as error:
            warnings.append(f"not written down: {error.message}")
    if not intent.unknown:
        store.note(replace(intent, generation=last.generation, digest=ruleset.digest))
    change = "; ".join(filter(None, ("" if found else "first boot, closed", asked.change)))
    seconds = round(sum(report.seconds.values()), 3)
    store.history.append(replace(last, digest=ruleset.digest, seconds=seconds, change=change))
    return Booted(engines.observe(), text, (*warnings, *store.unwritten()))


def _readable(store: Store) -> tuple[Ruleset | None, list[str]]:
    """The last good ruleset, or the newest before it that is whole; and what is wrong with those in front of it."""
    digests = [store.intent().last_good, *(step.digest for step in reversed(policies(store.history)))]
    warnings: list[str] = []
    for digest in dict.fromkeys(filter(None, digests)):
        try:
            return store.ruleset(digest), warnings
        except DataError as error:
            warnings.append(error.message)
    return None, warnings
