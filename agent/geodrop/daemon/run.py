"""The life of the daemon: take over what is in force, bring it up to date, answer, stop without touching the kernel."""

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
from geodrop.daemon.autoreload import Autoreload
from geodrop.daemon.compaction import Compaction
from geodrop.daemon.context import DaemonContext
from geodrop.daemon.event import Event
from geodrop.daemon.exporter import open_exporter
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
from geodrop.errors import ConfigError, DataError, GeodropError, PrivilegeError, ProblemsError, UnavailableError
from geodrop.operations.boot import boot
from geodrop.operations.change import by_me
from geodrop.operations.load import apply_file
from geodrop.state.leftovers import remove_leftovers
from geodrop.state.lock import exclusive
from geodrop.state.store import Store, trust_memory

if TYPE_CHECKING:
    from typing import Any

    from geodrop.config import Config
    from geodrop.operations.outcome import Outcome

SELDOM = 600.0
"""Seconds between two tries of a first reload that has failed many times."""

GIVES_WAY = 0.001
"""Seconds that a thread which computes goes on while another one waits: `status` takes dozens of answers from the
kernel, and while a load is encoded each would wait for the 0.005 that are Python's own."""

STOP_SECONDS = 10.0
"""How long a load that is under way may take to end; cut off, it leaves the old or the new."""


def run_daemon(config_path: str | None) -> None:
    """Run until SIGTERM or SIGINT.

    Where agent.yaml cannot be used but something was loaded before, that is looked after, and status says what is to
    be mended. Raises ConfigError where there is nothing to look after, BusyError if a daemon or a load by hand is at
    it, PrivilegeError, and UnavailableError where the kernel cannot be watched. What cannot be put in force is tried
    again: a restart would mend nothing.
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
    """The parts and how they are started. `doubt` says what was assumed in the place of a damaged agent.yaml."""

    def __init__(self, config_path: str | None, config: Config, doubt: str = "") -> None:
        log, metrics = open_log(), Metrics()
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
            "autoreload": Autoreload(context, self._reload_quietly).run,
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
        """Until a signal says stop. Raises PrivilegeError where this process may not change the kernel at all."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._callback_failed)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.once("reload", self._reload_quietly()))
        # Before anything is loaded: what happens from then on is looked at once that is done.
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
        """What no task has met: callbacks of the loop, and failures that nobody waited for."""
        error = context.get("exception")
        if isinstance(error, OSError):
            self._log.error(context["message"], kind=Event.LOOP_FAILED, reason=str(error))
        elif isinstance(error, Exception) and not isinstance(error, GeodropError):
            self._tasks.met("the event loop", error)
        elif error is None:
            loop.default_exception_handler(context)

    async def _serve_metrics(self) -> None:
        """Serve metrics; that they cannot be served is no reason not to enforce, and is tried again."""
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
        """What they are made of; a bug there shows as a kernel that cannot be read."""
        with self._tasks.failing("metrics"):
            return await self._verbs.snapshot()

    async def _start(self) -> None:
        """Enforce, and watch over it from then on, however the first went. Raises PrivilegeError."""
        try:
            with self._tasks.failing("start"):
                await self._enforce()
        except PrivilegeError:
            raise
        except GeodropError as failure:
            self._log.critical("what is in force is left as it is", kind=Event.START_FAILED, reason=failure.message)
            self._notifier.ready(f"degraded: {failure.message}")
            self._try_again(failure)
        for name, work in self._tending.items():
            self._tasks.forever(name, work)

    async def _enforce(self) -> None:
        """What was in force or last good first, since that is quick; then what `source` says now."""
        if self._context.doubt:
            self._log.error(self._context.doubt, kind=Event.AGENT_DOUBTFUL)
        self._notifier.status("looking at what is in force")
        store = Store(self._config.state)
        if store.intent().unloaded:
            self._log.warning(
                "unloaded on request: nothing is enforced until the next reload", kind=Event.STARTED_UNLOADED
            )
            self._notifier.ready("unloaded on request: nothing is enforced until the next reload")
            return
        if store.intent().unknown:
            await self._fall_back()
            self._notifier.ready("what was asked for last cannot be read; all is left as it is until the next reload")
            return
        taken = await self._take_over()
        if taken and store.intent().rolled_back:
            # Somebody wanted what is older than the source: only who asks for the source gets it.
            said = "rolled back: the policy that was gone back to stays until the next reload"
            self._log.warning(said, kind=Event.STARTED_ROLLED_BACK)
            self._notifier.ready("rolled back until the next reload")
            return
        try:
            said = (await self._reload.ask(lambda _: None)).text
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

    def _try_again(self, failure: GeodropError) -> None:
        if not isinstance(failure, DataError | ConfigError | ProblemsError):
            self._tasks.once("first reload", self._reload_again())

    async def _reload_again(self) -> None:
        """What the first reload lacked may come, such as a bpffs or memory, or what was in its way may go, such as a
        table of our name; its inputs were good, or were not read yet. Ever more seldom.
        """
        pause = FIRST_PAUSE
        while not ((last := self._reload.last) and last.good):
            await asyncio.sleep(pause)
            pause = min(2 * pause, SELDOM)
            intent = Store(self._config.state).intent()
            if intent.unloaded or intent.rolled_back or last is not self._reload.last:
                return
            if await self._kernel_worker.do(self._lacks_xdp):
                continue  # it need not compile again to find that out
            with contextlib.suppress(GeodropError):
                await self._reload.ask(lambda _: None)

    def _lacks_xdp(self) -> bool:
        """Whether agent.yaml asks for xdp by name, and it is still not to be had."""
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
        """Whether something is in force after it."""
        try:
            loaded = await self._kernel_worker.do(partial(take_over, self._config))
        except GeodropError as failure:
            said = "the last good ruleset could not be loaded"
            self._log.error(said, kind=Event.LAST_GOOD_FAILED, reason=failure.message)
            return await self._fall_back()
        if loaded is None:
            self._log.warning("there is no last good ruleset yet", kind=Event.NO_LAST_GOOD)
            return False
        # Of what is in force already the interfaces may be others than a boot could know.
        said = "in force already" if loaded.before.generation == loaded.after.generation else "loaded again"
        digest, generation = loaded.after.digest[:12], loaded.after.generation
        self._log.info(f"the last good ruleset is {said}", kind=Event.TAKEN_OVER, generation=generation, digest=digest)
        return True

    async def _fall_back(self) -> bool:
        """What a boot would do: an older ruleset, for interfaces to come, or what `first_boot` says; False if open."""
        booted = await self._kernel_worker.do(lambda: boot(self._config, by_me("boot"), time.time()))
        self._log.warning(booted.text, kind=Event.FELL_BACK)
        for warning in booted.warnings:
            self._log.warning(warning, kind=Event.FALL_BACK_WARNING)
        return booted.observed.generation > 0

    async def _reload_quietly(self) -> None:
        # The log and the status say how it ended.
        with contextlib.suppress(GeodropError):
            await self._reload.ask(lambda _: None)

    async def _prove_alive(self, seconds: float) -> None:
        """Ping the watchdog as long as the loop and the thread that does the work both answer."""
        while True:
            await self._kernel_worker.do(lambda: None)
            self._notifier.ping()
            await asyncio.sleep(seconds)


def take_over(config: Config) -> Outcome | None:
    """Leave the ruleset in force there, if it is whole, or load the last good one; None if there is neither.

    What the kernel holds goes first: after a crash between a switch and the writing down of it, it is the newer one.
    What a boot has filled it has read back as well; the first reload compares all of it again.
    """
    store = Store(config.state)
    digests = (BothEngines.here().observe().digest, store.intent().digest)
    digest = next((digest for digest in digests if digest and store.ruleset_path(digest).exists()), None)
    if not digest:
        return None
    return apply_file(store.ruleset(digest), config, config.engine, (), by_me("repair"), full=False)
