# SPDX-License-Identifier: Apache-2.0
"""Run the daemon: take over what is in force, bring it up to date, answer, stop without touching the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from geodrop.config import load_config, load_config_or_assume
from geodrop.daemon.audit import Audit
from geodrop.daemon.autoreload import Autoreload, waits
from geodrop.daemon.compaction import Compaction
from geodrop.daemon.context import DaemonContext
from geodrop.daemon.deadline import Deadline
from geodrop.daemon.event import Event
from geodrop.daemon.exporter import open_exporter
from geodrop.daemon.gate import Asker
from geodrop.daemon.log import open_log
from geodrop.daemon.metrics import Metrics
from geodrop.daemon.notify import Notifier
from geodrop.daemon.reload import Reload
from geodrop.daemon.schedule import Schedule
from geodrop.daemon.scrapes import Scrapes
from geodrop.daemon.server import ControlServer
from geodrop.daemon.source import source_of
from geodrop.daemon.tasks import FIRST_PAUSE, Tasks
from geodrop.daemon.verbs import Verbs, kind_of
from geodrop.daemon.watch.watch import Watch
from geodrop.daemon.writeback import WriteBack
from geodrop.dataplane.both import BothEngines, make_xdp
from geodrop.errors import (
    ConfigError,
    DataError,
    GeodropError,
    HeldError,
    PrivilegeError,
    ProblemsError,
    UnavailableError,
)
from geodrop.formats import by_newer
from geodrop.operations import decisions
from geodrop.operations.boot import boot
from geodrop.operations.brought_back import brought_back
from geodrop.operations.change import by_me, finish_undo
from geodrop.operations.load import apply_file
from geodrop.operations.window import with_window
from geodrop.state import announce
from geodrop.state.entry import ChangeRequest
from geodrop.state.leftovers import remove_leftovers
from geodrop.state.lock import exclusive
from geodrop.state.store import Store, trust_memory

if TYPE_CHECKING:
    from typing import Any

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome
    from geodrop.state.intent import Intent

SELDOM = 600.0
"""The longest pause between two tries of a first reload that has failed."""

GIVES_WAY = 0.001
"""Switch interval of Python's threads, in seconds. `status` needs dozens of answers from the kernel; while a load is
encoded, each would wait for Python's default of 0.005.
"""

STOP_SECONDS = 10.0
"""How long a load under way may take to end at a stop; if cut off, it leaves the old generation or the new one."""


def run_daemon(config_path: str | None) -> None:
    """Run until SIGTERM or SIGINT.

    If agent.yaml cannot be used but something was loaded before, the daemon maintains that, and status says what to
    correct. Raises ConfigError if there is nothing to maintain, BusyError if another daemon or a load by hand is
    running, PrivilegeError, and UnavailableError if the kernel cannot be monitored. What cannot be put in force is
    tried again; a restart would not help.
    """
    config, doubt = load_config_or_assume(config_path)
    if doubt and not Store(config.state).intent().digest:
        config, doubt = load_config(config_path), ""
    if not doubt:
        source_of(config)
    with exclusive(os.path.abspath(config.socket), os.path.abspath(config.state)):
        remove_leftovers()
        trust_memory()
        sys.setswitchinterval(GIVES_WAY)
        asyncio.run(Daemon(config_path, config, doubt).run())


class Daemon:
    """The parts of the daemon and their start. `doubt` says what was assumed instead of a damaged agent.yaml."""

    def __init__(self, config_path: str | None, config: Config, doubt: str = "") -> None:
        log, metrics = open_log(), Metrics()
        announce.listen(lambda made: log.info(made.text, kind=Event.RECORDED, **made.fields))
        self._tasks = Tasks(log, metrics)
        context = DaemonContext(config, config_path, Notifier(), log, metrics, self._tasks, doubt)
        self._context, self._config = context, config
        self._log, self._notifier, self._kernel_worker = context.log, context.notifier, context.kernel_worker
        compaction = Compaction(context)
        self._reload = Reload(context, compaction.schedule)
        self._watch = Watch(context, compaction.schedule)
        self._tending = {
            "watch": self._watch.run,
            "audit": Audit(context, self._watch).run,
            "schedule": Schedule(context).run,
            "deadline": Deadline(context).run,
            "autoreload": Autoreload(context, partial(self._reload_quietly, watches=True)).run,
            "compile child": self._reload.run,
            "compact": compaction.run,
            "tally": self._watch.tally.run,
            "writeback": WriteBack(context).run,
        }
        verbs = Verbs(context, self._reload, self._watch, compaction)
        self._server = ControlServer(verbs.answer, context.log, kind_of)
        self._metrics = context.metrics
        self._verbs, self._scrapes = verbs, Scrapes(self._read_metrics)

    async def run(self) -> None:
        """Run until a signal says stop. Raises PrivilegeError if this process may not change the kernel at all."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._callback_failed)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.once("reload", self._reload_quietly()))
        # Open the events before anything is loaded, so that no change after the load is missed.
        self._watch.events.open()
        self._server.open(self._config.socket)
        self._metrics.show(self._scrapes.last)
        try:
            self._tasks.forever("metrics", self._serve_metrics)
            if self._notifier.watchdog:
                self._tasks.forever("watchdog", partial(self._prove_alive, self._notifier.watchdog / 3))
            starting, stopping = asyncio.ensure_future(self._start()), asyncio.ensure_future(stop.wait())
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await stopping
            starting.cancel()
        finally:
            self._notifier.stopping()
            self._log.info("stopping; the kernel goes on enforcing", kind=Event.STOPPING)
            self._server.close()
            self._watch.events.close()
            self._reload.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._kernel_worker.do(lambda: None)
            await self._tasks.close()

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle errors outside tasks: callbacks of the event loop, and failures that no task awaited."""
        error = context.get("exception")
        if isinstance(error, OSError):
            self._log.error(context["message"], kind=Event.LOOP_FAILED, reason=str(error))
        elif isinstance(error, Exception) and not isinstance(error, GeodropError):
            self._tasks.met("the event loop", error)
        elif error is None:
            loop.default_exception_handler(context)

    async def _serve_metrics(self) -> None:
        """Serve metrics; if that fails, enforcement goes on and serving is tried again."""
        place = self._config.metrics
        try:
            exporter = open_exporter(place, self._metrics.registry, self._scrapes)
        except OSError as error:
            raise ConfigError(f"metrics cannot be served: {error.strerror}", "see `metrics` in agent.yaml") from error
        try:
            await exporter.serve(partial(self._tasks.works, "metrics"))
        finally:
            exporter.close()

    async def _read_metrics(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Read status and counters for metrics; a bug there shows as a kernel that cannot be read."""
        with self._tasks.failing("metrics"):
            return await self._verbs.snapshot()

    async def _start(self) -> None:
        """Enforce, then start the lasting tasks, whether or not enforcing succeeded. Raises PrivilegeError."""
        try:
            with self._tasks.failing("start"):
                await self._enforce()
        except PrivilegeError:
            raise
        except GeodropError as failure:
            self._log.critical(
                "the start failed; what is in force is left as it is", kind=Event.START_FAILED, reason=failure.message
            )
            self._notifier.ready(f"degraded: {failure.message}")
            self._try_again(failure)
        for name, work in self._tending.items():
            self._tasks.forever(name, work)

    async def _enforce(self) -> None:
        """Restore what was in force or last good first, because that is quick; then load what `source` says now."""
        if self._context.doubt:
            self._log.error(self._context.doubt, kind=Event.AGENT_DOUBTFUL)
        self._notifier.status("looking at what is in force")
        await self._kernel_worker.do(partial(finish_undo, self._config))
        store = Store(self._config.state)
        if store.intent().unloaded:
            self._stay_unloaded()
            return
        if store.intent().unknown:
            await self._fall_back()
            self._notifier.ready("intent.json cannot be read; everything is left as it is until the next reload")
            return
        taken = await self._take_over()
        # The verbs are answered already. What is decided before this number is in the intent; the reload gives way to
        # what is decided after it.
        asked = self._by_daemon()
        if store.intent().unloaded:
            self._stay_unloaded()
            return
        if await self._stays(store.intent(), taken=taken):
            return
        try:
            said = (await self._reload.ask(lambda _: None, asked)).text
        except GeodropError as failure:
            said = f"degraded: {failure.message}"
            if not taken and not await self._fall_back():
                said = f"nothing is enforced: {failure.message}"
                self._log.critical(
                    "nothing is enforced",
                    kind=Event.NOT_ENFORCED,
                    first_boot=self._config.first_boot,
                    reason=failure.message,
                )
            self._try_again(failure)
        self._notifier.ready(said)

    async def _stays(self, intent: Intent, *, taken: bool) -> bool:
        """Tell whether what is in force stays until a person asks for a reload; log why."""
        if intent.newer:
            said = f"intent.json was {by_newer(intent.newer)}: what is in force stays"
            self._log.warning(said, kind=Event.STARTED_NEWER)
            if not taken:
                await self._fall_back()
        elif taken and intent.rolled_back:
            said = "rolled back: the older policy stays until the next reload"
            self._log.warning(said, kind=Event.STARTED_ROLLED_BACK)
        elif taken and intent.confirm:
            # First it is confirmed or undone. A reload is then for a person to ask for, or for `watch`.
            said = "a load waits to be confirmed: nothing is reloaded until it is confirmed or undone"
            self._log.warning(said, kind=Event.STARTED_NOT_CONFIRMED)
        else:
            return False
        self._notifier.ready(said)
        return True

    def _stay_unloaded(self) -> None:
        said = "unloaded on request: nothing is enforced until the next reload"
        self._log.warning(said, kind=Event.STARTED_UNLOADED)
        self._notifier.ready(said)

    def _try_again(self, failure: GeodropError) -> None:
        if not isinstance(failure, DataError | ConfigError | ProblemsError | HeldError):
            self._tasks.once("first reload", self._reload_again())

    async def _reload_again(self) -> None:
        """Repeat a failed first reload, with growing pauses.

        What it lacked may come, such as a bpffs or memory, or an obstacle may go, such as a table of our name. Its
        inputs were good, or were not read yet.
        """
        pause = FIRST_PAUSE
        while not ((last := self._reload.last) and last.good):
            await asyncio.sleep(pause)
            pause = min(2 * pause, SELDOM)
            asked = self._by_daemon()
            if waits(self._config) or last is not self._reload.last:
                return
            if await self._kernel_worker.do(self._lacks_xdp):
                continue  # without xdp the reload would fail after compiling
            with contextlib.suppress(GeodropError):
                await self._reload.ask(lambda _: None, asked)

    def _lacks_xdp(self) -> bool:
        """Whether agent.yaml asks for xdp by name and xdp is still unavailable."""
        try:
            config = load_config(self._context.config_path)
        except GeodropError:
            return False
        if config.engine != "xdp":
            return False
        try:
            make_xdp(config.loader).probe()
        except (UnavailableError, PrivilegeError):
            return True
        return False

    async def _take_over(self) -> bool:
        """Take over what is in force, or load the last good ruleset; return whether anything is in force then."""
        try:
            loaded = await self._kernel_worker.do(partial(take_over, self._config))
        except GeodropError as failure:
            said = "the last good ruleset could not be loaded"
            self._log.error(said, kind=Event.LAST_GOOD_FAILED, reason=failure.message)
            return await self._fall_back()
        if loaded is None:
            if Store(self._config.state).intent().unloaded:
                return False
            self._log.warning("there is no last good ruleset yet", kind=Event.NO_LAST_GOOD)
            return False
        # A boot does not know the interfaces, so they may differ although the generation is the same.
        said = "in force already" if loaded.before.generation == loaded.after.generation else "loaded again"
        digest, generation = loaded.after.digest[:12], loaded.after.generation
        self._log.info(f"the last good ruleset is {said}", kind=Event.TAKEN_OVER, generation=generation, digest=digest)
        return True

    async def _fall_back(self) -> bool:
        """Do what a boot does: load an older ruleset for interfaces to come, or what `first_boot` says; False if that
        is `open`.
        """
        booted = await self._kernel_worker.do(lambda: boot(self._config, by_me("boot"), time.time()))
        self._log.warning(booted.text, kind=Event.FELL_BACK)
        for warning in booted.warnings:
            self._log.warning(warning, kind=Event.FALL_BACK_WARNING)
        return booted.observed.generation > 0

    async def _reload_quietly(self, *, watches: bool = False) -> None:
        # The log and the status report how the reload ended.
        with contextlib.suppress(GeodropError):
            await self._reload.ask(lambda _: None, self._by_daemon()._replace(watches=watches))

    @staticmethod
    def _by_daemon() -> Asker:
        return Asker(ChangeRequest("reload", os.getuid()), known=decisions.number())

    async def _prove_alive(self, seconds: float) -> None:
        """Ping the watchdog as long as the event loop and the kernel worker both answer."""
        while True:
            await self._kernel_worker.do(lambda: None)
            self._notifier.ping()
            await asyncio.sleep(seconds)


def take_over(config: Config) -> Outcome | None:
    """Keep the ruleset in force if it is intact, or load the last good one; None if there is neither, or an unload
    came meanwhile.

    What the kernel holds has precedence: after a crash between the switch and the write of the intent, it is the newer
    one. A boot reads back what it fills, so the elements are not compared here; the first reload compares everything
    again.
    """
    store = Store(config.state)
    observed = BothEngines.here().observe()
    intent = with_window(store.intent(), observed)
    # In a window the load that waits counts, even if another program has ended the window.
    # What another program has brought back does not count.
    settled = intent.confirm or brought_back(intent, observed)
    digests = (intent.digest,) if settled else (observed.digest, intent.digest)
    digest = next((digest for digest in digests if digest and store.ruleset_path(digest).exists()), None)
    if not digest or intent.unloaded:
        return None
    return apply_file(store.ruleset(digest), config, config.engine, (), by_me("repair"), full=False)
