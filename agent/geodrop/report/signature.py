# SPDX-License-Identifier: Apache-2.0
"""Who signed what is in force, as this host wrote it down when it accepted the ruleset: for `status --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.operations.admission import admitted_by

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed
    from geodrop.state.store import Store


def signature_of(config: Config, store: Store, observed: Observed) -> dict[str, Any] | None:
    """Return whose signature made this host accept what is in force; None if it demands no signatures.

    `accepted` is as for `admitted_by`. The other values are None unless it is `signature`.
    """
    if config.keys is None:
        return None
    by, found = admitted_by(store, observed.digest)
    return {
        "accepted": by,
        "principal": found and found.principal,
        "key": found and found.key,
        "compiled": found and utc.moment(found.compiled),
    }
