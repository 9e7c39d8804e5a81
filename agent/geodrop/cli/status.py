"""`geodrop status`: what is in force, and whether it is healthy."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.config import load_config
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.load import loaded_ruleset
from geodrop.dataplane.sample import sample
from geodrop.errors import ApplyError, NotEnforcingError
from geodrop.report.history import as_object, last_failure
from geodrop.ruleset.closed import is_closed
from geodrop.ruleset.explain import effective_mode
from geodrop.state.history import utc
from geodrop.state.store import FOREVER, Store

if TYPE_CHECKING:
    import argparse

SCHEMA = 1
SAMPLE = 20
"""Boundaries a family that every `status` asks the kernel about; `verify` asks about more."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `status`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: in force and healthy; 1: in force, but degraded; 3: nothing in force."""
    status = read_status(args.config)
    print(json.dumps(status) if args.json else describe(status))
    if not status["enforcing"]:
        return NotEnforcingError.exit_code
    return 0 if status["healthy"] else ApplyError.exit_code


def read_status(config_path: str | None) -> dict[str, Any]:
    """The object of `status --json`: read back from the kernel, then held against the ruleset it names."""
    config = load_config(config_path)
    engine = Engines.here()
    observed = engine.observe()
    store = Store(config.state)
    intent, ruleset = store.intent(), loaded_ruleset(config, observed)
    enforcing = observed.generation > 0 and bool(observed.interfaces)
    problems = store.problems()
    if enforcing and ruleset is None:
        problems.append(f"the ruleset in force ({observed.digest[:12]}) is not in {config.state}: load it again")
    elif enforcing and ruleset is not None:
        if is_closed(ruleset.meta.compiler):
            problems.append("no policy was ever loaded: nothing new is let in (first_boot: closed)")
        view = ruleset.paused(intent.paused)
        differences = engine.verify(view, full=False) or sample(view, engine, SAMPLE)
        problems += [f"{one.where}: expected {one.expected}, found {one.found}" for one in differences]
    services = ruleset.meta.services if ruleset and enforcing else ()
    now = time.time()
    paused, failure = intent.paused_at(now), last_failure(store.history.entries())
    return {
        "schema": SCHEMA,
        "enforcing": enforcing,
        "healthy": enforcing and not problems,
        "problems": problems,
        "daemon": False,
        "generation": observed.generation,
        "digest": observed.digest,
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


def describe(status: dict[str, Any]) -> str:
    """The same for a person."""
    if not status["enforcing"]:
        why = "unloaded on request" if status["unloaded"] else "nothing has been loaded"
        return "\n".join([messages.paint(f"not enforcing: {why}", messages.RED), *_notes(status)])
    lines = [
        messages.paint("enforcing", messages.GREEN)
        if status["healthy"]
        else messages.paint("enforcing, but degraded", messages.YELLOW)
    ]
    lines += _notes(status)
    lines.append(f"  generation  {status['generation']}, ruleset {status['digest'][:12]}")
    for interface in status["interfaces"]:
        attach = f", {interface['attach']}" if interface["attach"] else ""
        why = f": {interface['why']}" if "why" in interface else ""
        lines.append(f"  interface   {interface['name']} ({interface['engine']}{attach}){why}")
    for service in status["services"]:
        starts = f", starts {service['starts']}" if service["starts"] else ""
        lines.append(f"  service     {service['name']}: {service['effective']}{starts}")
    lines.append("  daemon      not running; the kernel enforces without it")
    return "\n".join(lines)


def _notes(status: dict[str, Any]) -> list[str]:
    """What is out of the ordinary."""
    lines = [f"  problem     {problem}" for problem in status["problems"]]
    if status["paused"]:
        why = f": {status['paused_why']}" if status["paused_why"] else ""
        lines.append(f"  paused      until {status['paused_until'] or 'resume'}{why}; nothing is dropped")
    if status["rolled_back"]:
        lines.append("  rolled back until the next reload")
    if failure := status["last_failure"]:
        lines.append(f"  failed      {failure['origin']} of {failure['time']}: {failure['error']}")
    return lines
