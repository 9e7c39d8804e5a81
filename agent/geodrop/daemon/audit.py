# SPDX-License-Identifier: Apache-2.0
"""Audit the kernel slowly and all the time: does it still hold the ruleset, even if no change was noticed?

Each minute an address of every denied region is looked up in the kernel's own tables, and one of PARTS parts of the
data is read back and compared byte for byte. The work is done in small pieces, so that a repair never waits for long.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from functools import partial
from typing import TYPE_CHECKING

from geodrop.daemon.event import Event
from geodrop.daemon.worker import OWN
from geodrop.engine.spot_check import compare, of_each_denied
from geodrop.errors import GeodropError, NotEnforcingError
from geodrop.operations.load import what_is_loaded
from geodrop.operations.repair import check_share
from geodrop.ruleset.age import too_old

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.daemon.context import DaemonContext
    from geodrop.daemon.watch.watch import Watch
    from geodrop.engine.api import Difference
    from geodrop.ruleset.explain import Address

INTERVAL = 60.0
PARTS = 60
"""With one part each INTERVAL, all data is read within an hour."""

PIECE = 100
"""Addresses looked up in one piece of work."""

DAY = 86_400.0


class Audit:
    """The task that audits."""

    def __init__(self, context: DaemonContext, watch: Watch) -> None:
        self._context, self._watch = context, watch
        self._kernel_worker, self._log, self._metrics = context.kernel_worker, context.log, context.metrics
        self._said_old = -DAY

    async def run(self) -> None:
        """Audit for as long as the daemon lives."""
        for number in itertools.count():
            await asyncio.sleep(INTERVAL)
            await self.once(number)

    async def once(self, number: int) -> None:
        """Audit one minute's share and hand the differences on for repair."""
        try:
            await self._say_old()
            differences = await self._differences(number % PARTS)
        except NotEnforcingError:
            # Nothing is in force, so there is nothing to audit. If something should be in force, an inspection reports
            # that.
            differences = []
        except (GeodropError, OSError) as error:
            self._log.error("the audit could not read the kernel", kind=Event.AUDIT_FAILED, reason=str(error))
            return
        else:
            self._metrics.audited(good=not differences)
        self._watch.events.audited(differences)

    async def _differences(self, part: int) -> list[Difference]:
        config = self._context.config
        found = await self._kernel_worker.do(partial(check_share, config, part, PARTS), OWN)
        addresses = await self._kernel_worker.do(lambda: list(of_each_denied(what_is_loaded(config)[2])), OWN)
        for start in range(0, len(addresses), PIECE):
            found += await self._kernel_worker.do(partial(_judge, config, addresses[start : start + PIECE]), OWN)
        return found

    async def _say_old(self) -> None:
        """Log once a day each database that is older than the policy allows."""
        if time.monotonic() - self._said_old < DAY:
            return
        ruleset = (await self._kernel_worker.do(partial(what_is_loaded, self._context.config), OWN))[2]
        for problem in too_old(ruleset.meta, time.time()):
            self._said_old = time.monotonic()
            self._log.warning(problem, kind=Event.DATABASE_OLD)


def _judge(config: Config, addresses: Sequence[Address]) -> list[Difference]:
    """Compare verdicts for the addresses; a ruleset loaded since they were chosen is compared on them as well."""
    engines, _, ruleset = what_is_loaded(config)
    return compare(ruleset, engines, addresses)
