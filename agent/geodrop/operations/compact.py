"""Follow a thin generation by a whole one of the same ruleset, so that packets pay for one lookup again.

The thin one was there to be quick (see nftables.thin); now there is time. Verdicts are the same before and after.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.operations.change import open_change
from geodrop.state.history import ChangeRequest

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed


def compact(config: Config) -> Observed | None:
    """What is in force after it; None if there was nothing to do.

    For who holds the lock. Raises DataError where the ruleset is not kept, and what `Change.put` does.
    """
    if not BothEngines.here().nftables.is_overlay():
        return None
    with open_change(config, ChangeRequest("compact", os.geteuid(), change="maps made whole again")) as change:
        selection, engine = change.in_place()
        ruleset = change.kept(change.before.digest)
        change.apply(ruleset, selection, engine, rebuild=True)
        return change.engines.observe()
