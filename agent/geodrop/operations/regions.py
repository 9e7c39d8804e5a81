"""Count by region what nftables drops as `other`: what follows each change once its verdicts are in force.

It changes no verdict and makes no generation, and so is no change that the history tells of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.errors import GeodropError
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config


def tell_regions_apart(config: Config) -> bool:
    """Whether there was something to do, which is done then. For who holds the lock.

    Raises DataError where the ruleset in force is damaged, ApplyError, BusyError where something else cannot wait, and
    what engines do where they cannot work; everything is counted as `other` then, as before.
    """
    engines, store = BothEngines.here(), Store(config.state)
    observed, intent = engines.observe(), store.intent()
    if not observed.digest or not store.ruleset_path(observed.digest).exists():
        return False
    with underway.making("regions", observed.generation, intent):
        return engines.nftables.tell_regions_apart(store.ruleset(observed.digest).paused(intent.paused))


def warnings_of_regions(config: Config) -> tuple[str, ...]:
    """Tell regions apart at the end of a command, which succeeds even if this fails; returns warnings, a line each."""
    try:
        tell_regions_apart(config)
    except GeodropError as error:
        return (f"regions are not told apart in the counters of nftables: {error.message}",)
    return ()
