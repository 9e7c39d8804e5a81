# SPDX-License-Identifier: Apache-2.0
"""Reload: read agent.yaml, compile, load, report the result. A failed reload changes nothing and is remembered."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop.config import load_config
from geodrop.daemon.autoreload import look as look_at_files
from geodrop.daemon.autoreload import waits
from geodrop.daemon.coalesce import Coalesced
from geodrop.daemon.event import Event
from geodrop.daemon.gate import Asker, look, not_accepted, refuse_held
from geodrop.daemon.source import Maker
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.moves import moves
from geodrop.errors import BusyError, DataError, GeodropError, HeldError, UnavailableError
from geodrop.operations import decisions
from geodrop.operations.admission import check_file
from geodrop.operations.change import finish_undo
from geodrop.operations.load import apply_file
from geodrop.report.confirm import waiting
from geodrop.state.entry import ChangeRequest
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from geodrop.config import Config
    from geodrop.daemon.context import DaemonContext
    from geodrop.daemon.source import Made
    from geodrop.operations.admission import Signed
    from geodrop.operations.outcome import Outcome
    from geodrop.ruleset.difference import RulesetDiff
    from geodrop.ruleset.model import Ruleset

SCHEMA = 1
REFRESH = 600.0
"""Seconds between checks of the waiting child. If it has ended, a reload before the next check waits for imports."""

FIXED = ("state", "socket", "metrics")
"""Keys of agent.yaml that are read only when the daemon starts."""


def wanted_config(context: DaemonContext) -> tuple[Config, Config]:
    """Read agent.yaml: as it is now, and as a reload would use it, with the FIXED keys of the start.

    Raises ConfigError.
    """
    now = load_config(context.config_path)
    return now, replace(now, **{name: getattr(context.config, name) for name in FIXED})


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did: one line, the object of `reload --json`, and warnings ready for stderr."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    warnings: str = ""


@dataclass(frozen=True, slots=True)
class Last:
    """The last reload: when (seconds since the epoch), whether it succeeded, and its line or its reason."""

    time: float
    good: bool
    text: str


class Reload:
    """Reloads, one at a time; `last` is None before the first. `on_change` compacts the overlay that a reload may
    leave.
    """

    def __init__(self, context: DaemonContext, on_change: Callable[[], None]) -> None:
        self.last: Last | None = None
        self._context, self._on_change = context, on_change
        self.maker = Maker()
        self._coalesced = Coalesced(self._reload)
        self.held: Sequence[dict[str, Any]] = ()
        """The limits that held the last reload, as in `status --json`."""
        self._asked_by: list[Asker] = []

    async def ask(self, say: Callable[[str], None], asked: Asker | None = None) -> ReloadResult:
        """Return the outcome of a reload that began after this call. Raises GeodropError with everything as it was
        before, HeldError if a limit holds it.

        The history names the first user who asked for this reload, by uid; None stands for the daemon itself. A reload
        gives way to each decision that comes after it was asked for: BusyError.
        """
        asked = asked or Asker(ChangeRequest("reload", os.getuid()))
        if asked.known < 0:
            asked = asked._replace(known=decisions.number())
        self._asked_by.append(asked)
        result = await self._coalesced.ask(say)
        if asked.accept and not asked.accepts(result.data["digest"]):
            raise not_accepted(asked.accept, result.data["digest"])
        return result

    async def run(self) -> None:
        """Keep a compile child ready that has read the present databases, for as long as the daemon lives.

        The child's unit ends it after half an hour, so that a child compromised by an input does not stay forever.
        """
        while True:
            await asyncio.sleep(REFRESH)
            self._context.compiler.start(partial(self.maker.wait, self._context.config))

    def close(self) -> None:
        """End the waiting compile child."""
        self.maker.close()

    async def _reload(self, say: Callable[[str], None]) -> ReloadResult:
        def phase(text: str) -> None:
            say(text)
            self._context.notifier.status(f"reload: {text}")

        began = time.perf_counter()
        # Those who asked after a decision come first: the reload is for them.
        askers, self._asked_by = sorted(self._asked_by, key=lambda one: -one.known), []
        look_again = partial(waits, self._context.config)
        if all(one.watches for one in askers) and await self._context.kernel_worker.do(look_again):
            # Something was decided after the look at the files, or now waits to be confirmed. This is no failure.
            raise BusyError("changed files wait for a person", "geodrop reload")
        # Of requests that share a run, one that has to be confirmed decides: the shortest time is the safest.
        within = min((one.request.confirm_within for one in askers if one.request.confirm_within), default=0)
        first = replace(askers[0].request, confirm_within=within)
        askers = [askers[0]._replace(request=first), *askers[1:]]
        self._context.notifier.reloading("reload: reading agent.yaml")
        try:
            with self._context.tasks.failing("reload"):
                outcome = await self._steps(phase, askers)
        except GeodropError as failure:
            self._failed(failure, time.perf_counter() - began)
            raise
        finally:
            # Nothing waits for this: the next reload finds a child whose imports are done.
            self._context.compiler.start(partial(self.maker.wait, self._context.config))
        self.last, self.held = Last(time.time(), good=True, text=outcome.text), ()
        changed = "changed" if outcome.data["changed"] else "unchanged"
        self._context.metrics.reloaded(changed, time.perf_counter() - began, self.last.time)
        self._context.log.info("reload done", kind=Event.RELOADED, outcome=outcome.text)
        self._context.notifier.reloaded(outcome.text)
        return outcome

    def _failed(self, failure: GeodropError, seconds: float) -> None:
        """Remember and report a reload that changed nothing."""
        is_held = isinstance(failure, HeldError)
        self.last = Last(time.time(), good=False, text=failure.problem)
        self.held = failure.held if isinstance(failure, HeldError) else ()
        self._context.metrics.reloaded("held" if is_held else "failed", seconds, self.last.time)
        if is_held:
            self._context.log.error("a limit holds the reload", kind=Event.HELD, reason=failure.problem)
        else:
            said = "reload failed; what was in force still is"
            reason, code = failure.message, failure.exit_code
            self._context.log.error(said, kind=Event.RELOAD_FAILED, reason=reason, code=code)
        told = failure.problem if is_held else f"reload failed, nothing changed: {failure.message}"
        self._context.notifier.reloaded(told)

    async def _steps(self, phase: Callable[[str], None], askers: Sequence[Asker]) -> ReloadResult:
        began, asked, digest = time.perf_counter(), askers[0].request, ""
        try:
            with self._context.tasks.failing("reload"):
                wanted, config = await self._context.compiler.do(partial(wanted_config, self._context))
                self._context.doubt = ""
                if config.watch:
                    self._context.files_read = await self._context.compiler.do(partial(look_at_files, config))
                phase("compiling")
                made = await self._context.compiler.do(partial(self.maker.make, config))
                digest = made.ruleset.digest
                signed = await self._context.compiler.do(partial(_checked, made.ruleset, config))
                asked = replace(asked, change=made.change.as_text() if made.change else "")
                compiled = time.perf_counter() - began
                asked = replace(asked, accept=next((one.accept for one in askers if one.accepts(digest)), ""))
                against = await self._judged(made, config, askers)
        except GeodropError as failure:
            # Later failures are recorded by `apply_file`, which opens the change.
            await self._context.kernel_worker.do(partial(_note, self._context.config, asked, digest, failure))
            raise
        try:
            phase("loading")
            load = partial(self._apply, made.ruleset, config, asked, against, askers[0].known, signed)
            loaded = await self._context.kernel_worker.do(load)
        finally:
            self._on_change()
        later = [name for name in FIXED if getattr(wanted, name) != getattr(config, name)]
        lines = [f"geodrop: warning: agent.yaml: {name} is taken over at the next start" for name in later]
        lines += [f"geodrop: warning: {warning}" for warning in loaded.warnings]
        warnings = "\n".join([*made.warnings.splitlines(), *lines])
        seconds = {"compile": compiled, **(loaded.report.seconds if loaded.report else {})}
        return outcome(loaded, made.change, {**seconds, "all": time.perf_counter() - began}, warnings)

    async def _judged(self, made: Made, config: Config, askers: Sequence[Asker]) -> str:
        """Return the digest of what was in force when the change was judged, "" if nothing was. Raises HeldError if a
        limit holds it, and BusyError if the reload gives way to a decision.
        """
        found, reason = await self._context.kernel_worker.do(partial(look, config))
        _give_way(askers[0].known)
        change = made.change
        if found.ruleset is not None and found.ruleset.digest not in {made.against, made.ruleset.digest}:
            # Another ruleset came in force meanwhile, by a rollback for instance; or no child could compare.
            try:
                change = await self._context.compiler.do(partial(self.maker.compare, made.ruleset, found.ruleset))
            except (DataError, UnavailableError) as failure:
                reason = failure.message
        await self._context.compiler.do(partial(refuse_held, made.ruleset, change, found, reason, askers))
        return found.digest

    def _apply(  # noqa: PLR0913, PLR0917 - what, for whom, beside what, and who signed it
        self,
        ruleset: Ruleset,
        config: Config,
        asked: ChangeRequest,
        against: str,
        known: int,
        signed: Signed | None = None,
    ) -> Outcome:
        """Load on the kernel worker, so that its next job goes by the agent.yaml now in force.

        Raises BusyError after a decision that came later than the `known` one, and if another ruleset is in force than
        the one the change was judged against.
        """
        finish_undo(config)
        try:
            _give_way(known)
            if BothEngines.here().observe().digest != against:
                raise BusyError("another ruleset came in force during the reload", "look at it, and reload again")
        except BusyError as failure:
            _note(config, asked, ruleset.digest, failure)
            raise
        loaded = apply_file(ruleset, config, config.engine, (), asked, quick=True, signed=signed)
        self._context.config = config
        return loaded


def outcome(
    loaded: Outcome, change: RulesetDiff | None, seconds: Mapping[str, float], warnings: str = ""
) -> ReloadResult:
    """Describe a reload; `seconds` are by phase, with the total as "all"."""
    before, after = loaded.before.generation, loaded.after.generation
    moved = moves(loaded.before, loaded.after) if before else ""
    data = {
        "schema": SCHEMA,
        "changed": loaded.report is not None,
        "generation": after,
        "previous": before,
        "digest": loaded.after.digest,
        "seconds": {phase: round(spent, 4) for phase, spent in seconds.items()},
        "change": change and change.as_json(),
        "moved": moved,
        "confirm": waiting(loaded.confirm, loaded.after.digest),
    }
    digest = loaded.after.digest[:12]
    if loaded.report is None:
        text = f"generation {after}: unchanged (ruleset {digest}), nothing to do"
    elif loaded.before.digest == loaded.after.digest:
        number = f"{after}" if before == after else f"{before} -> {after}"
        again = "its deadline is set again" if loaded.confirm else "loaded again, since the kernel differed"
        what = f"ruleset {digest} as before, {moved or again}"
        text = f"generation {number}: {what}, {seconds['all'] * 1e3:,.0f} ms"
    else:
        # If nothing was in force before, everything is a change: then say what is in force.
        what = change.as_text() if change and before else f"ruleset {digest} on {_names(loaded)}"
        text = f"generation {before} -> {after}: {what}, {seconds['all'] * 1e3:,.0f} ms"
    return ReloadResult(text, data, warnings)


def _checked(ruleset: Ruleset, config: Config) -> Signed | None:
    """Return who signed what `source` names; None if this host demands no signatures. Raises as `check_file`."""
    path = config.source.ruleset if config.source else None
    return check_file(path, ruleset, config, Store(config.state)) if path else None


def _give_way(known: int) -> None:
    """Raise BusyError if something was decided after the decision of number `known`."""
    if what := decisions.after(known):
        problem = f"the reload gives way to {what}, which came after it was asked for"
        raise BusyError(problem, "if it is still wanted: geodrop reload")


def _note(config: Config, asked: ChangeRequest, digest: str, failure: GeodropError) -> None:
    """Record a failed attempt in the history; failing to record it is ignored."""
    with suppress(GeodropError), Store(config.state).history.attempt(asked) as attempt:
        attempt.digest = digest
        observed = BothEngines.here().observe()
        attempt.previous_generation, attempt.previous_digest = observed.generation, observed.digest
        raise failure


def _names(loaded: Outcome) -> str:
    return ", ".join(loaded.after.names)
