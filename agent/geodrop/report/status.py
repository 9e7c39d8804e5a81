# SPDX-License-Identifier: Apache-2.0
"""What is in force and whether it is healthy: facts from the kernel and the state directory, and their state."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop import __version__, utc
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.coverage import Coverage, read_coverage
from geodrop.engine import underway
from geodrop.engine.spot_check import spot_check
from geodrop.errors import DataError
from geodrop.linux import capabilities, source_routes
from geodrop.operations.brought_back import brought_back
from geodrop.operations.exempt_sources import passing, verify_exempt
from geodrop.operations.load import loaded_ruleset
from geodrop.operations.window import ShouldHold, held, intent_of
from geodrop.report import confirm
from geodrop.report.confirm import as_it_is
from geodrop.report.counters import as_other
from geodrop.report.exempt import exemptions_of
from geodrop.report.history import as_object, by_a_daemon, last_failure
from geodrop.report.observed import observe
from geodrop.report.signature import signature_of
from geodrop.report.state import Facts, asked_to_drop, state_of
from geodrop.ruleset.age import too_old
from geodrop.ruleset.explain import effective_mode
from geodrop.ruleset.first_boot import is_closed
from geodrop.ruleset.ramp import BUCKETS, share_at
from geodrop.state.intent import FOREVER
from geodrop.state.lock import control_socket
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.config import Config
    from geodrop.engine.api import Observed
    from geodrop.ruleset.model import Input, Ruleset, ServiceSpec
    from geodrop.state.intent import Intent

SCHEMA = 2
SAMPLE = 20
"""Boundaries in each family that every `status` looks up in the kernel; `verify` looks up more."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a daemon knows beyond kernel and state directory: fields of the object, and problems, a line each."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_status(config: Config, running: Running | None = None, doubt: str = "") -> dict[str, Any]:
    """Return the object of `status --json`: read back from the kernel and compared with the ruleset it names.

    `running` is what the daemon adds to an answer; None if the command itself reads the status. `doubt` is a problem
    that is known already: what was assumed instead of agent.yaml. Raises PrivilegeError, UnavailableError.
    """
    # A problem may only show because this read came in the middle of a switch: then read again.
    return underway.undisturbed(lambda: _read(config, running, doubt), lambda found: bool(found["healthy"]))


def _read(config: Config, running: Running | None, doubt: str) -> dict[str, Any]:
    now = time.time()
    change = underway.now()
    engine = BothEngines.here()
    observed = engine.observe()
    in_force = observed.generation > 0 and bool(observed.interfaces)
    store = Store(config.state)
    intent = intent_of(store, observed)
    shown_as = as_it_is(intent)
    problems, doubtful = [*filter(None, [doubt]), *store.problems()], False
    coverage = read_coverage(config.interfaces, engine, observed.interfaces) if observed.generation else Coverage(())
    problems += coverage.problems
    problems += [engine.unread.problem] if engine.unread else []
    ruleset = _in_force(config, observed, problems) if in_force else None
    drift = None
    if ruleset is not None:
        differences = _differences(engine, ruleset.paused(intent.paused), store, intent, observed)
        drift = len(differences)
        if intent.unknown and differences:
            # The difference may be a pause, which an unreadable intent cannot confirm.
            doubtful = True
            differences = ["what is in force is not the ruleset as it stands: it may be paused"]
        problems += differences
        problems += too_old(ruleset.meta, now)
        problems += _source_routes(ruleset, coverage)
    links = coverage.links
    checked = observe(
        engine, ruleset and ruleset.paused(intent.paused), observed.interfaces, links, partial(passing, store)
    )
    problems += checked.problems
    problems += confirm.problem(shown_as)
    problems += running.problems if running else ()
    problems += _unable(observed) if running else _unattended(observed, store)
    paused, failure = intent.paused_at(now), last_failure(store.history.recent())
    wanted = ruleset or _asked_for(store, intent)
    asked = wanted is None or asked_to_drop(wanted.meta.services, now)
    facts = Facts(
        in_force=in_force,
        reached=bool(coverage.judged),
        asked=asked,
        paused=paused,
        leaks=checked.leaks,
        problems=bool(problems),
    )
    state = state_of(facts)
    services = ruleset.meta.services if ruleset else ()
    others = _as_other(engine, observed, ruleset) if ruleset else []
    inputs = ruleset.meta.inputs if ruleset else ()
    since = store.history.since(observed.digest)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "state": state,
        "enforcing": state.enforcing,
        "enforcing_expected": asked,
        "healthy": facts.in_force and facts.reached and not facts.leaks and not problems,
        "problems": problems,
        "observed": checked.data,
        "daemon": running is not None,
        "change": change.as_object() if change else None,
        "last_reload": None,
        "drift": drift,
        "repaired": 0,
        "repairs": [],
        "generation": observed.generation,
        "digest": observed.digest,
        "since": None if since is None else utc.moment(since),
        "policy": next(({"name": one.name, "sha256": one.sha256} for one in inputs if one.kind == "policy"), None),
        "dropped": None,
        "last_good": intent.last_good,
        "signature": signature_of(config, store, observed),
        "paused": paused,
        "paused_until": utc.moment(intent.paused) if paused and intent.paused < FOREVER else None,
        "paused_why": intent.why if paused else None,
        "unloaded": shown_as.unloaded,
        "rolled_back": shown_as.rolled_back,
        "confirm": confirm.waiting(shown_as.confirm, shown_as.digest),
        "undone": confirm.taken_back(shown_as),
        "held": [],
        "last_failure": as_object(failure, None) if failure else None,
        "exemptions": exemptions_of(engine, store),
        "engine": config.engine,
        "interfaces": [
            {"name": interface.name, "engine": interface.engine, "attach": interface.attach, "links": list(present)}
            | ({"why": interface.why} if interface.why else {})
            for interface, present in zip(observed.interfaces, links, strict=True)
        ],
        "judged": list(coverage.judged),
        "databases": [database_of(one) for one in inputs if one.kind == "database"],
        "services": [
            {
                "name": service.name,
                "mode": service.mode,
                "effective": "unknown" if doubtful else effective_mode(service, now, paused=paused),
                "starts": None if service.starts is None else utc.moment(service.starts),
                "share": share_at(service.ramp, now) / BUCKETS,
                "ramp": _ramp(service, now),
                "counted_as_other": count,
            }
            for service, count in zip(services, others, strict=True)
        ],
        **(running.fields if running else {}),
    }


def database_of(found: Input) -> dict[str, Any]:
    """Return a database of the ruleset in force as an object: what it is, and of how many addresses it says what."""
    return {
        "name": found.name,
        "type": found.database_type,
        "built": found.build_epoch,
        "sha256": found.sha256,
        "roles": [asdict(role) for role in found.roles],
    }


def _source_routes(ruleset: Ruleset, coverage: Coverage) -> list[str]:
    """Return a line if a source route can lead a packet past a service that takes only some addresses of this host."""
    if not any(service.addresses for service in ruleset.meta.services):
        return []
    if not (found := source_routes.accepting(coverage.judged)):
        return []
    said = f"{', '.join(found)}: packets with a source route are judged by the first address that they name"
    return [f"{said}; next: sysctl -w net.ipv4.conf.all.accept_source_route=0"]


def _ramp(service: ServiceSpec, now: float) -> dict[str, Any] | None:
    """Return the clock that a ramp is compared with, and its next step; None without a ramp."""
    if not service.ramp:
        return None
    following = next((step for step in service.ramp if step[0] > now), None)
    step = following and {"from": utc.moment(following[0]), "share": following[1] / BUCKETS}
    return {"clock": utc.moment(now), "next": step}


def _as_other(engine: BothEngines, observed: Observed, ruleset: Ruleset) -> list[int]:
    """Return for each service how many regions have no counter of their own on the engines in force."""
    if all(interface.engine != "nftables" for interface in observed.interfaces):
        return [0] * len(ruleset.meta.services)
    told_apart = engine.nftables.tells_regions_apart()
    return [as_other(ruleset, number, told_apart=told_apart) for number in range(len(ruleset.meta.services))]


def _in_force(config: Config, observed: Observed, problems: list[str]) -> Ruleset | None:
    """Return the ruleset that the kernel names; what is wrong with it is added to `problems`."""
    try:
        ruleset = loaded_ruleset(config, observed)
    except DataError as error:
        problems.append(
            f"the kernel cannot be compared with the ruleset in force: {error.message}; next: geodrop reload"
        )
        return None
    if ruleset is None:
        problems.append(
            f"the ruleset in force ({observed.digest[:12] or 'unknown'}) is not in {config.state}: load it again"
        )
    elif is_closed(ruleset.meta.compiler):
        problems.append("no policy was ever loaded: nothing new is let in (first_boot: closed)")
    return ruleset


def _differences(engine: BothEngines, view: Ruleset, store: Store, intent: Intent, observed: Observed) -> list[str]:
    """Compare the kernel with what it should hold, and the verdicts of what is in force with its ruleset."""
    earlier = brought_back(intent, observed)
    if earlier and engine.observe() == observed:
        return [f"in force is {earlier.found}, asked for was {earlier.expected}; next: geodrop reload"]
    try:
        # If another process has switched between the two readings, the intent is newer than what was observed.
        expected = ShouldHold(view) if earlier else held(store, intent, observed)
    except DataError as error:
        return [f"what a load is undone to cannot be compared: {error.problem}"]
    differing = engine.verify(expected.ruleset, full=False, undo=expected.undo)
    found = underway.of_what_is_in_force(differing) or spot_check(view, engine, SAMPLE)
    found += verify_exempt(engine, store)
    return [f"{one.where}: expected {one.expected}, found {one.found}" for one in found]


def _asked_for(store: Store, intent: Intent) -> Ruleset | None:
    """Return the ruleset that should be in force when none is; None if that is not known."""
    try:
        return store.ruleset(intent.digest) if intent.digest else None
    except DataError:
        return None


def _unable(observed: Observed) -> list[str]:
    """Return what prevents this process, the daemon, from repairing what is in force."""
    xdp = any(interface.engine == "xdp" for interface in observed.interfaces)
    lacking = capabilities.missing(capabilities.XDP if xdp else capabilities.NFTABLES)
    if not lacking:
        return []
    extra = ", and with xdp in force: make install XDP=1" if xdp else ""
    return [f"the daemon may not repair what is in force: {', '.join(lacking)} missing; next: see its unit{extra}"]


def _unattended(observed: Observed, store: Store) -> list[str]:
    """Return a problem if a daemon maintained what is in force and none runs now, so that nothing is repaired.

    A daemon that was killed leaves its socket behind; one that was stopped, or did not start, shows in the history.
    """
    if not observed.generation or not (control_socket() or by_a_daemon(store.history.recent())):
        return []
    return ["no daemon runs any more, so nothing is repaired; next: systemctl start geodrop (journalctl -u geodrop)"]
