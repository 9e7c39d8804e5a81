# SPDX-License-Identifier: Apache-2.0
"""Replace an overlay by a whole generation of the same ruleset, so that each packet costs one lookup again.

The overlay made the change quick (see nftables.overlay). Verdicts are the same before and after compaction.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.operations.change import open_change
from geodrop.state.entry import ChangeRequest

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed


def compact(config: Config) -> Observed | None:
    """Compact the overlay in force and return what is in force then; None if there is no overlay.

    Where a load waits to be confirmed there is none: both generations are whole.

    The caller holds the lock. Raises DataError if the ruleset is not kept, and what `OpenChange.apply` raises.
    """
    if not BothEngines.here().nftables.is_overlay():
        return None
    with open_change(
        config, ChangeRequest("compact", os.geteuid(), change="overlay compacted into whole maps")
    ) as change:
        if change.meant != change.before.digest:
            return None  # a repair replaces it
        selection, engine = change.in_place()
        ruleset = change.kept(change.before.digest)
        change.apply(ruleset, selection, engine, rebuild=True)
        return change.engines.observe()
