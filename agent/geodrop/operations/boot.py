# SPDX-License-Identifier: Apache-2.0
"""Restore the last good ruleset before the network is up, without policy, database or interfaces.

Boot uses nftables alone, because its rules can wait for interfaces to come. The rules name the interfaces of
agent.yaml; if it names none, they match every interface except the kinds that are only judged when named. If agent.yaml
cannot be used, the interfaces of the last load are named. xdp takes over at the next load or reload.

State files are written last, and a failed write does not stop the boot: a host with a full disk still enforces.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.engine.interfaces import meant
from geodrop.errors import DataError, GeodropError
from geodrop.operations.admission import is_accepted
from geodrop.operations.brought_back import brought_back
from geodrop.operations.change import finish_undo, unload_again
from geodrop.operations.exempt_sources import at_load, settle
from geodrop.operations.window import is_over, with_window
from geodrop.ruleset.enforced import enforced
from geodrop.ruleset.first_boot import build_closed
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, FAILED, ChangeRequest, Entry
from geodrop.state.exemptions import ClockReading
from geodrop.state.history import policies
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed


@dataclass(frozen=True, slots=True)
class Booted:
    """The result of a boot: what is in force now, one line that says why, and warnings, a line each.

    `alarm` is true if nothing is in force and nobody asked for that.
    """

    observed: Observed
    text: str
    warnings: tuple[str, ...] = ()
    alarm: bool = False


def boot(config: Config, asked: ChangeRequest, now: float) -> Booted:
    """Put the last good ruleset in force.

    If it cannot be read, the newest readable ruleset before it is used; if there is none, `first_boot` decides. What is
    in force already stays, unless another program has only brought it back. After `unload` nothing is in force. `now`
    is in seconds since the epoch; `asked` describes the change in the history. The caller holds the lock. Raises
    UnavailableError, PrivilegeError or ApplyError if nftables refuses the ruleset.
    """
    store, engines = Store(config.state), BothEngines.here()
    goes_on = _on_trial_unseen(engines, store)
    return Booted(engines.observe(), goes_on) if goes_on else _restored(config, asked, now, engines, store)


def _restored(config: Config, asked: ChangeRequest, now: float, engines: BothEngines, store: Store) -> Booted:
    # What was not confirmed before a boot is not booted. In the same boot, a window that is in force goes on.
    finish_undo(config, now=not engines.observe().generation)
    before = engines.observe()
    intent = with_window(store.intent(), before)
    earlier = brought_back(intent, before)
    if before.generation and not earlier:
        return Booted(before, f"generation {before.generation} is in force already; nothing to do")
    if intent.unloaded:
        why = f"{intent.undone}, and nothing was in force before it" if intent.undone else "unloaded on request"
        removed = unload_again(config, replace(asked, origin="repair"))
        done = f"removed {removed.found}, which was loaded again since" if removed else "nothing to do"
        return Booted(engines.observe(), f"{why}; {done}")
    if intent.unknown and config.first_boot == "open":
        text = f"nothing is in force: intent.json {intent.unknown}; it may say unloaded or paused. See: geodrop status"
        return Booted(before, text, tuple(store.problems()), alarm=True)
    found, warnings = (None, []) if intent.unknown else _readable(config, store, before)
    warnings += store.problems()
    if earlier and not found:
        # What was in force once is better than what `first_boot` says.
        text = f"{earlier.found} stays in force, since {earlier.expected} cannot be read"
        return Booted(before, text, tuple(warnings))
    started = now - time.clock_gettime(time.CLOCK_BOOTTIME)
    last = Entry(now, asked.origin, DONE, asked.uid, intent.generation + 1, sudo_user=asked.sudo_user, since=started)
    if found is None and config.first_boot == "open":
        text = "nothing is in force: there is no last good ruleset (first_boot: open)"
        store.history.append(replace(last, outcome=FAILED, generation=0, error=text))
        return Booted(before, text, (*warnings, *store.unwritten()), alarm=True)
    ruleset = found or Ruleset.unpack(build_closed(), "first boot")
    names = meant(config.interfaces, network=None)
    at_load(engines, store)
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
        store.note(replace(intent, generation=last.generation, begun=0, digest=ruleset.digest))
    if store.exemptions.read():
        settle(engines, store)
        warnings += store.exemptions.problems(ClockReading.now())
    replaced = f"in place of {earlier.found}" if earlier else ""
    change = "; ".join(filter(None, ("" if found else "first boot, closed", replaced, asked.change)))
    seconds = round(sum(report.seconds.values()), 3)
    drops = enforced(ruleset)
    store.history.append(replace(last, digest=ruleset.digest, seconds=seconds, change=change, drops=drops))
    return Booted(engines.observe(), text, (*warnings, *store.unwritten()))


def _on_trial_unseen(engines: BothEngines, store: Store) -> str:
    """Say so if a load of this boot waits to be confirmed where only xdp may hold it; "" otherwise.

    geodrop-boot.service has no right to bpf(2), and may run long after the machine was booted: when geodrop.service is
    first started. Pins do not outlive a boot, so at a boot itself no load waits.
    """
    confirm = store.intent().confirm
    if confirm is None or is_over(confirm) or not engines.may_judge_unseen or engines.observe().generation:
        return ""
    return f"generation {confirm.generation} waits to be confirmed, on xdp, which cannot be read here; nothing to do"


def _readable(config: Config, store: Store, before: Observed) -> tuple[Ruleset | None, list[str]]:
    """Return the last good ruleset or the newest intact one before it, and what is wrong with those skipped.

    If this host demands signatures, it is one that it has accepted.
    """
    digests = [store.intent().last_good, *(step.digest for step in reversed(policies(store.history)))]
    warnings: list[str] = []
    for digest in dict.fromkeys(filter(None, digests)):
        if not is_accepted(config, store, before, digest):
            warnings.append(f"ruleset {digest[:12]} is left out: this host demands signatures, and never accepted it")
            continue
        try:
            return store.ruleset(digest), warnings
        except DataError as error:
            warnings.append(error.message)
    return None, warnings
