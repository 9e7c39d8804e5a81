# SPDX-License-Identifier: Apache-2.0
"""Count by region what nftables drops as `other`; runs after each change, once its verdicts are in force.

This changes no verdict and makes no generation, so the history does not record it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.errors import GeodropError
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config


def count_regions(config: Config) -> bool:
    """Split the counters of nftables by region; return whether there was anything to do. The caller holds the lock.

    It waits until a load is confirmed or undone.

    Raises DataError if the ruleset in force is damaged, ApplyError, BusyError if another change is waiting, and what
    the engines raise if they cannot work; after an error everything still counts as `other`.
    """
    engines, store = BothEngines.here(), Store(config.state)
    observed, intent = engines.observe(), store.intent()
    if observed.window or not observed.digest or not store.ruleset_path(observed.digest).exists():
        return False
    with underway.making("regions", observed.generation, intent), underway.filling():
        return engines.nftables.count_regions(store.ruleset(observed.digest).paused(intent.paused))


def warnings_of_regions(config: Config) -> tuple[str, ...]:
    """Split counters by region at the end of a command, which succeeds even if this fails. Return warnings, a line
    each.
    """
    try:
        count_regions(config)
    except GeodropError as error:
        return (f"the counters of nftables could not be split by region: {error.message}",)
    return ()
