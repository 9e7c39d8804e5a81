"""Load and unload: what happens around an engine, in the order that makes every crash harmless.

The ruleset is kept and its generation number spent before the kernel is touched; the intent is written after. Whoever
finds the kernel ahead of the intent therefore still finds the ruleset, by the digest that the kernel carries.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.dataplane.interfaces import select
from geodrop.dataplane.nftables.engine import NftablesEngine
from geodrop.errors import ConfigError, DataError, NoInterfaceError, NotEnforcingError, PrivilegeError, UnavailableError
from geodrop.ruleset.model import Ruleset
from geodrop.state.lock import exclusive
from geodrop.state.places import default_pins
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.config import Config
    from geodrop.dataplane.engine import Engine, Observed, Report


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of a load: `report` is None if the kernel matched already.

    `absent` are interfaces that were named and are not there; their packets are judged once they are.
    """

    before: Observed
    after: Observed
    report: Report | None
    absent: tuple[str, ...] = ()


def select_engine(name: str, ruleset: Ruleset | None = None, loader: str = "libbpf") -> Engine:
    """The engine of that name, probed, for a ruleset; `loader` is who loads xdp's program.

    Raises UnavailableError, PrivilegeError, DataError or ConfigError.

    `auto` takes xdp where it can work and the ruleset has its tables, else nftables.
    """
    if ruleset:
        name = suited(name, ruleset)
    has_xdp = ruleset is None or ruleset.has_xdp
    if name == "auto":
        try:
            return select_engine("xdp" if has_xdp else "nftables", ruleset, loader)
        except (UnavailableError, PrivilegeError):
            return select_engine("nftables", ruleset)
    if name == "xdp" and not has_xdp:
        raise DataError("the ruleset has no tables for xdp", "compile it with --xdp, or load it with --engine nftables")
    engine = make_engine(name, loader)
    engine.probe()
    return engine


def suited(name: str, ruleset: Ruleset) -> str:
    """The engine to ask for, given what the ruleset needs: nobody but nftables rejects.

    Raises ConfigError where an engine is asked for by name that cannot do it.
    """
    rejecting = [service.name for service in ruleset.meta.services if service.action == "reject"]
    if not rejecting or name == "nftables":
        return name
    if name != "auto":
        raise ConfigError(
            f"service {rejecting[0]} has  action: reject, which {name} cannot do",
            "use --engine nftables or auto, or write  action: drop",
        )
    return "nftables"


def make_engine(name: str, loader: str = "libbpf") -> Engine:
    """An engine by its own name. Who loads the program matters to `apply` only; what is pinned reads the same."""
    if name == "nftables":
        return NftablesEngine()
    # Not imported at the top: no verb should wait for an engine that this host does not use.
    from geodrop.dataplane.xdp.engine import XdpEngine  # noqa: PLC0415

    if loader == "bcc":
        from geodrop.dataplane.xdp.bcc_loader import BccLoader  # noqa: PLC0415

        return XdpEngine(BccLoader())
    return XdpEngine()


def engine_in_force() -> Engine:
    """The engine that holds packets back right now; nftables, probed, when none does."""
    if os.path.exists(default_pins()):
        xdp = make_engine("xdp")
        if xdp.observe().generation:
            return xdp
    return select_engine("nftables")


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
    current, engine = engine_in_force(), select_engine(engine_name, ruleset, config.loader)
    store = Store(config.state)
    before, intent = current.observe(), store.intent()
    names = {interface.name for interface in before.interfaces}
    same = before.digest == ruleset.digest and names == set(selected.names) and current.name == engine.name
    if same and not engine.verify(ruleset):
        store.keep(Path(path), ruleset.digest)
        store.remember(replace(intent, digest=ruleset.digest, unloaded=False))
        return Loaded(before, before, None, selected.absent)
    generation = max(intent.generation, before.generation) + 1
    store.keep(Path(path), ruleset.digest)
    store.remember(replace(intent, generation=generation))
    try:
        report = engine.apply(ruleset, generation, selected.names)
    except UnavailableError:
        # What xdp cannot do on these interfaces (or at all) nftables can; a named engine is meant, though.
        if engine_name != "auto" or engine.name == "nftables":
            raise
        engine = select_engine("nftables")
        report = engine.apply(ruleset, generation, selected.names)
    if current.name != engine.name:
        # Both judge for a moment, each by a whole policy; nothing is ever judged by neither.
        current.remove()
    store.remember(replace(intent, generation=generation, digest=ruleset.digest, unloaded=False))
    store.prune(config.keep, {ruleset.digest, before.digest, intent.digest})
    return Loaded(before, engine.observe(), report, selected.absent)


def unload(config: Config) -> bool:
    """Remove all that is ours from the kernel and remember that; False if there was nothing. Raises BusyError."""
    with exclusive():
        return remove_all(config)


def remove_all(config: Config) -> bool:
    """The same for whoever holds the lock."""
    engine = engine_in_force()
    store = Store(config.state)
    before, intent = engine.observe(), store.intent()
    generation = max(intent.generation, before.generation)
    # Remembered first: after a crash in between, what should be gone is found and removed, not restored.
    store.remember(replace(intent, generation=generation, unloaded=True))
    # Both: a load that was killed while it changed engines leaves both.
    engines = [select_engine("nftables"), *([make_engine("xdp")] if os.path.exists(default_pins()) else [])]
    removed = [engine.remove() for engine in engines]
    return any(removed)


def loaded_ruleset(config: Config, observed: Observed) -> Ruleset | None:
    """The ruleset that the kernel says it holds, if the state directory has it."""
    path = Store(config.state).ruleset_path(observed.digest)
    return Ruleset.open(path) if observed.digest and os.path.exists(path) else None


def what_is_loaded(config: Config) -> tuple[Engine, Observed, Ruleset]:
    """The engine in force, what it says, and the ruleset it holds.

    Raises NotEnforcingError if there is none, and DataError if the state directory does not have the ruleset.
    """
    engine = engine_in_force()
    observed = engine.observe()
    if not observed.generation:
        raise NotEnforcingError("nothing is in force", "load a ruleset first: geodrop load FILE")
    ruleset = loaded_ruleset(config, observed)
    if ruleset is None:
        raise DataError(
            f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}", "load its file again"
        )
    return engine, observed, ruleset
