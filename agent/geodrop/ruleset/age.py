# SPDX-License-Identifier: Apache-2.0
"""The age of the databases that a ruleset was compiled from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.ruleset.model import Meta

DAY = 86_400


def too_old(meta: Meta, now: float) -> list[str]:
    """Return a line of text for each database that is older than the policy allows (limits.database_age).

    `now` is in seconds since the epoch, as time.time() gives it.
    """
    limit = meta.database_age
    if limit is None:
        return []
    return [
        f"{one.name} was built {int(now - one.build_epoch) // DAY} days ago, and the policy allows {limit / DAY:g}: "
        "get a newer one and reload"
        for one in meta.inputs
        if one.build_epoch is not None and now - one.build_epoch > limit
    ]
