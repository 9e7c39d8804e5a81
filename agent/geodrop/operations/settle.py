"""Follow a thin generation by a whole one of the same ruleset, so that packets pay for one lookup again.

The thin one was there to be quick (see nftables.thin); now there is time. Verdicts are the same before and after.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from geodrop.dataplane.engines import Engines
from geodrop.operations.change import begun
from geodrop.state.history import Asked

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed


def settle(config: Config) -> Observed | None:
    """What is in force after it; None if there was nothing to do.

    For who holds the lock. Raises DataError where the ruleset is not kept, and what `Change.put` does.
    """
    if not Engines.here().nftables.is_thin():
        return None
    with begun(config, Asked("settle", os.geteuid(), change="maps made whole again")) as change:
        selection, engine = change.in_place()
        ruleset = change.kept(change.before.digest)
        change.put(ruleset, selection, engine, anew=True)
        return change.engines.observe()
