# SPDX-License-Identifier: Apache-2.0
"""Reload when a file changes that the policy in force was made from: `watch: true` in agent.yaml.

Files are read every few seconds, and compared with what they were when the last reload began. A change counts once a
file is the same in two looks, so that a program that writes a database in place can finish. As with every reload, what
cannot be compiled changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.compile.sandbox import Identity
from geodrop.daemon.event import Event
from geodrop.errors import GeodropError
from geodrop.operations.load import what_is_loaded
from geodrop.signature.verify import SUFFIX
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from geodrop.config import Config
    from geodrop.daemon.context import DaemonContext

INTERVAL = 3.0
PATIENCE = 60.0
"""Seconds for which a file may be missing, while it is replaced or copied, before that is a problem."""

Seen = dict[str, "Identity | None"]
"""The identity of each file; None if it does not exist."""


class Autoreload:
    """The task that watches files. `reload` reloads; log and status report how that ended, so its result is ignored."""

    def __init__(self, context: DaemonContext, reload: Callable[[], Awaitable[object]]) -> None:
        self._context, self._compiler, self._log, self._reload = context, context.compiler, context.log, reload
        self._before: Mapping[str, Identity | None] = {}
        self._missing: dict[str, tuple[float, str]] = {}
        """By file: since when it is missing, in seconds of the monotonic clock, and as a moment."""

    async def run(self) -> None:
        """Watch for as long as the daemon lives."""
        while True:
            seen = await self._compiler.do(partial(self._look, self._context.config))
            self._context.missing = self.missing(seen or {})
            if seen is not None and (changed := self.changed(seen)):
                self._log.info("reloading, since files changed", kind=Event.FILES_CHANGED, files=" ".join(changed))
                await self._reload()
            await asyncio.sleep(INTERVAL)

    @staticmethod
    def _look(config: Config) -> Seen | None:
        """Return what the files are now; None if no change of them counts."""
        return look(config) if config.watch and not waits(config) else None

    def changed(self, seen: Seen) -> list[str]:
        """Return the files that have changed since the last reload began, once all exist and are as in the last look.

        Without a reload since the start, as after a start beside a load that waited to be confirmed, that is all of
        them. A file that only the policy loaded last names is known from now on.
        """
        stable = seen == self._before and None not in seen.values()
        self._before = seen
        if not stable:
            return []
        read = self._context.files_read
        self._context.files_read = {**read, **seen}
        return sorted(name for name in seen if not read or (name in read and seen[name] != read[name]))

    def missing(self, seen: Seen) -> list[str]:
        """Return a line of text for each file that has been missing for longer than PATIENCE: nothing is reloaded."""
        gone = [name for name, identity in seen.items() if identity is None]
        now, moment = time.monotonic(), utc.moment(time.time())
        self._missing = {name: self._missing.get(name, (now, moment)) for name in gone}
        return [_waited(name, said) for name, (since, said) in self._missing.items() if now - since > PATIENCE]


def _waited(name: str, since: str) -> str:
    step = "copy the signature there too: geodrop compile --sign KEY writes it" if name.endswith(SUFFIX) else ""
    step = step or "put it there, or see: geodrop reload"
    return f"{name} is missing since {since}, and `watch` loads nothing until it is there; next: {step}"


def waits(config: Config) -> bool:
    """Tell whether changed files wait: until a load is confirmed or undone, and after a rollback, an undo, an unload or
    a downgrade until a person asks for a reload or a load.
    """
    intent = Store(config.state).intent()
    return intent.rolled_back or intent.unloaded or intent.confirm is not None or bool(intent.newer)


def look(config: Config) -> Seen:
    """Return the identities of the files of `source`, and of the lists that the policy in force names."""
    source = config.source
    if source is None:
        return {}
    # With an unknown intent an unload may have been asked for; reloading would undo it.
    if Store(config.state).intent().unknown:
        return {}
    names = [name for name in (source.policy, source.ruleset, *source.databases) if name]
    if config.keys and source.ruleset:
        # A ruleset that was refused may be right with the next signature, or with another key.
        names += filter(None, (source.ruleset + SUFFIX, config.keys, config.revoked_keys))
    if source.policy:
        with contextlib.suppress(GeodropError):
            inputs = what_is_loaded(config)[2].meta.inputs
            names += [str(Path(source.policy).parent / one.name) for one in inputs if one.kind == "list"]
    seen: Seen = {}
    for name in names:
        try:
            seen[name] = Identity.of(name)
        except OSError:
            seen[name] = None
    return seen
