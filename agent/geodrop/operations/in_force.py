# SPDX-License-Identifier: Apache-2.0
"""The ruleset in force, read back from the kernel, for what compares another one with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.errors import DataError
from geodrop.operations.exempt_sources import passing
from geodrop.operations.load import loaded_ruleset
from geodrop.ruleset.first_boot import is_closed
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config
    from geodrop.engine.exempt import Network
    from geodrop.ruleset.model import Ruleset


@dataclass(frozen=True, slots=True)
class RulesetInForce:
    """What the kernel has in force. `ruleset` is None if that is nothing, or only what `first_boot: closed` loads.

    `digest` is the one that the kernel names. Services only count until `paused`, in seconds since the epoch. `exempt`
    are the networks that pass for a limited time whatever the ruleset says.
    """

    generation: int = 0
    ruleset: Ruleset | None = None
    paused: int = 0
    exempt: tuple[Network, ...] = ()
    digest: str = ""


def read_in_force(config: Config) -> RulesetInForce:
    """Read what is in force.

    Raises DataError if the kernel names a ruleset that the state directory does not have or cannot read,
    PrivilegeError, UnavailableError.
    """
    store, observed = Store(config.state), BothEngines.here().observe()
    paused = underway.intent(store, observed).paused
    if not observed.generation:
        return RulesetInForce(paused=paused)
    ruleset = loaded_ruleset(config, observed)
    if ruleset is None:
        raise DataError(
            f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}", "load its file again"
        )
    if is_closed(ruleset.meta.compiler):
        return RulesetInForce(observed.generation, paused=paused, digest=observed.digest)
    exempt = tuple(one.network for one in passing(store))
    return RulesetInForce(observed.generation, ruleset, paused, exempt, observed.digest)
