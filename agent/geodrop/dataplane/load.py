"""Load and unload: what happens around an engine, in the order that makes every crash harmless.

The ruleset is kept and its generation number spent before the kernel is touched; the intent is written after. Whoever
finds the kernel ahead of the intent therefore still finds the ruleset, by the digest that the kernel carries.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.dataplane.arrange import arrange
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.interfaces import select
from geodrop.errors import DataError, NoInterfaceError, NotEnforcingError
from geodrop.ruleset.model import Ruleset
from geodrop.state.lock import exclusive
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.dataplane.engine import Observed, Report


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of a load: `report` is None if the kernel matched already.

    `absent` are interfaces that were named and are not there; their packets are judged once they are.
    """

    before: Observed
    after: Observed
    report: Report | None
    absent: tuple[str, ...] = ()


def load(path: str, config: Config, engine_name: str, interfaces: Sequence[str]) -> Loaded:
    """Make the kernel match the ruleset in a file. Raises BusyError, and what `apply_file` does."""
    with exclusive():
        return apply_file(path, config, engine_name, interfaces)


def apply_file(path: str, config: Config, engine_name: str, interfaces: Sequence[str]) -> Loaded:
    """The same for whoever holds the lock.

    Raises DataError for the file, PrivilegeError, UnavailableError, NoInterfaceError, and ApplyError with the old
    generation still in force.
    """
    ruleset = Ruleset.open(path)
    selected = select(interfaces or config.interfaces)
    if not selected.names:
        raise NoInterfaceError(
            "no interface is selected, so there is none to judge packets on: none holds a default route, or no "
            "pattern matches",
            "name one with --interface, or with `interfaces` in agent.yaml",
        )
    engines = Engines.here(config.loader)
    store = Store(config.state)
    before, intent = engines.observe(), store.intent()
    same = before.digest == ruleset.digest and not engines.verify(ruleset)
    generation = before.generation if same else max(intent.generation, before.generation) + 1
    store.keep(Path(path), ruleset.digest)
    if not same:
        store.remember(replace(intent, generation=generation))
    report = arrange(engines, ruleset, generation, selected, engine_name)
    after = engines.observe()
    generation = max(intent.generation, generation)
    store.remember(replace(intent, generation=generation, digest=ruleset.digest, unloaded=False))
    store.prune(config.keep, {ruleset.digest, before.digest, intent.digest})
    return Loaded(before, after, None if before == after else report, selected.absent)


def unload(config: Config) -> bool:
    """Remove all that is ours from the kernel and remember that; False if there was nothing. Raises BusyError."""
    with exclusive():
        return remove_all(config)


def remove_all(config: Config) -> bool:
    """The same for whoever holds the lock."""
    engines = Engines.here()
    store = Store(config.state)
    before, intent = engines.observe(), store.intent()
    generation = max(intent.generation, before.generation)
    # Remembered first: after a crash in between, what should be gone is found and removed, not restored.
    store.remember(replace(intent, generation=generation, unloaded=True))
    return engines.remove()


def loaded_ruleset(config: Config, observed: Observed) -> Ruleset | None:
    """The ruleset that the kernel says it holds, if the state directory has it."""
    path = Store(config.state).ruleset_path(observed.digest)
    return Ruleset.open(path) if observed.digest and os.path.exists(path) else None


def what_is_loaded(config: Config) -> tuple[Engines, Observed, Ruleset]:
    """The engines in force, what they say, and the ruleset they hold.

    Raises NotEnforcingError if there is none, and DataError if the state directory does not have the ruleset.
    """
    engine = Engines.here()
    observed = engine.observe()
    if not observed.generation:
        raise NotEnforcingError("nothing is in force", "load a ruleset first: geodrop load FILE")
    ruleset = loaded_ruleset(config, observed)
    if ruleset is None:
        raise DataError(
            f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}", "load its file again"
        )
    return engine, observed, ruleset
