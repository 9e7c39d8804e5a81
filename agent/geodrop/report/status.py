"""What is in force, and whether it is healthy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geodrop.dataplane.load import engine_in_force, loaded_ruleset
from geodrop.dataplane.sample import sample
from geodrop.ruleset.explain import effective_mode
from geodrop.state.store import Store

if TYPE_CHECKING:
    from geodrop.config import Config

SCHEMA = 1
SAMPLE = 20
"""Boundaries a family that every `status` asks the kernel about; `verify` asks about more."""


def read_status(config: Config) -> dict[str, Any]:
    """The object of `status --json`: read back from the kernel, then held against the ruleset it names.

    Without a daemon; one that runs adds what it knows. Raises PrivilegeError, UnavailableError.
    """
    engine = engine_in_force()
    observed = engine.observe()
    ruleset = loaded_ruleset(config, observed)
    enforcing = observed.generation > 0 and bool(observed.interfaces)
    problems = []
    if enforcing and ruleset is None:
        problems.append(f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}: load it again")
    elif enforcing and ruleset is not None:
        differences = engine.verify(ruleset, full=False) or sample(ruleset, engine, SAMPLE)
        problems += [f"{one.where}: expected {one.expected}, found {one.found}" for one in differences]
    services = ruleset.meta.services if ruleset and enforcing else ()
    inputs = ruleset.meta.inputs if ruleset and enforcing else ()
    now = time.time()
    return {
        "schema": SCHEMA,
        "enforcing": enforcing,
        "healthy": enforcing and not problems,
        "problems": problems,
        "daemon": False,
        "last_reload": None,
        "generation": observed.generation,
        "digest": observed.digest,
        "paused": False,
        "unloaded": Store(config.state).intent().unloaded,
        "interfaces": [
            {"name": interface.name, "engine": interface.engine, "attach": interface.attach}
            for interface in observed.interfaces
        ],
        "databases": [{"name": one.name, "built": one.build_epoch} for one in inputs if one.kind == "database"],
        "services": [
            {
                "name": service.name,
                "mode": service.mode,
                "effective": effective_mode(service, now),
                "starts": None if service.starts is None else utc(service.starts),
            }
            for service in services
        ],
    }


def utc(seconds: float) -> str:
    """A time, in seconds since the epoch, as text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
