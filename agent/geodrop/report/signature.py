"""Who signed what is in force, as this host wrote it down when it accepted the ruleset: for `status --json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.operations.admission import accepted_as

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.api import Observed
    from geodrop.state.store import Store


def signature_of(config: Config, store: Store, observed: Observed) -> dict[str, Any] | None:
    """Return whose signature made this host accept what is in force; None if it demands no signatures.

    Each value is None for a ruleset that was in force before signatures were demanded.
    """
    if config.keys is None:
        return None
    found = accepted_as(store, observed.digest)
    if found is None or not found.key:
        return {"principal": None, "key": None, "compiled": None}
    return {"principal": found.principal, "key": found.key, "compiled": utc.moment(found.compiled)}
