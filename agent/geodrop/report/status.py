"""What is in force, and whether it is healthy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geodrop.dataplane.coverage import Coverage, read_coverage
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.load import loaded_ruleset
from geodrop.dataplane.sample import sample
from geodrop.report.history import as_object, last_failure
from geodrop.ruleset.age import too_old
from geodrop.ruleset.closed import is_closed
from geodrop.ruleset.explain import effective_mode
from geodrop.state.history import utc
from geodrop.state.store import FOREVER, Store

if TYPE_CHECKING:
    from geodrop.config import Config

SCHEMA = 1
SAMPLE = 20
"""Boundaries a family that every `status` asks the kernel about; `verify` asks about more."""


def read_status(config: Config) -> dict[str, Any]:
    """The object of `status --json`: read back from the kernel, then held against the ruleset it names.

    Without a daemon; one that runs adds what it knows. Raises PrivilegeError, UnavailableError.
    """
    engine = Engines.here()
    observed = engine.observe()
    store = Store(config.state)
    intent, ruleset = store.intent(), loaded_ruleset(config, observed)
    problems = store.problems()
    covered = read_coverage(config.interfaces, engine, observed.interfaces) if observed.generation else Coverage(())
    enforcing = bool(covered.judged)
    problems += covered.problems
    if enforcing and ruleset is None:
        problems.append(f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}: load it again")
    elif enforcing and ruleset is not None:
        if is_closed(ruleset.meta.compiler):
            problems.append("no policy was ever loaded: nothing new is let in (first_boot: closed)")
        view = ruleset.paused(intent.paused)
        differences = engine.verify(view, full=False) or sample(view, engine, SAMPLE)
        problems += [f"{one.where}: expected {one.expected}, found {one.found}" for one in differences]
        problems += too_old(ruleset.meta, time.time())
    services = ruleset.meta.services if ruleset and enforcing else ()
    inputs = ruleset.meta.inputs if ruleset and enforcing else ()
    now = time.time()
    paused, failure = intent.paused_at(now), last_failure(store.history)
    return {
        "schema": SCHEMA,
        "enforcing": enforcing,
        "healthy": enforcing and not problems,
        "problems": problems,
        "daemon": False,
        "last_reload": None,
        "repaired": 0,
        "repairs": [],
        "generation": observed.generation,
        "digest": observed.digest,
        "last_good": intent.last_good,
        "paused": paused,
        "paused_until": utc(intent.paused) if paused and intent.paused < FOREVER else None,
        "paused_why": intent.why if paused else None,
        "unloaded": intent.unloaded,
        "rolled_back": intent.rolled_back,
        "last_failure": as_object(failure, None) if failure else None,
        "interfaces": [
            {"name": interface.name, "engine": interface.engine, "attach": interface.attach}
            | ({"why": interface.why} if interface.why else {})
            for interface in observed.interfaces
        ],
        "judged": list(covered.judged),
        "databases": [{"name": one.name, "built": one.build_epoch} for one in inputs if one.kind == "database"],
        "services": [
            {
                "name": service.name,
                "mode": service.mode,
                "effective": effective_mode(service, now, paused=paused),
                "starts": None if service.starts is None else utc(service.starts),
            }
            for service in services
        ],
    }
