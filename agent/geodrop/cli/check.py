# SPDX-License-Identifier: Apache-2.0
"""`geodrop check`: validate a policy, or agent.yaml with everything that it names."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from geodrop import messages, utc
from geodrop.compile import sandbox
from geodrop.compile.failures import say
from geodrop.compile.opening import open_database, open_policy
from geodrop.config import DEFAULT_PATH, load_config
from geodrop.errors import GeodropError
from geodrop.state.service_user import service_user
from geodrop.state.store import Store
from geodrop.text import harmless

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from geodrop.config import Config
    from geodrop.ruleset.container import Container

DEFAULT_POLICY = "/etc/geodrop/policy.yaml"
SCHEMA = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.add_argument(
        "policy",
        nargs="?",
        metavar="POLICY",
        help="the policy alone (default: agent.yaml and all that it names, else /etc/geodrop/policy.yaml)",
    )
    parser.add_argument(
        "--database",
        action="append",
        default=[],
        metavar="FILE",
        help="a GeoIP database to check with it; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print one line for a good policy, or every problem with its position."""
    before = _asked_for(args.config)
    previous = [memory.descriptor for memory in before.memories()] if before else []
    if args.policy is not None:
        return _check(sandbox.Job("check", args.policy, args.database, previous=previous, options={"json": args.json}))
    config = load_config(args.config)
    source = config.source
    if source is None:
        if named := args.config or os.environ.get("GEODROP_CONFIG"):
            return _good(named, config, as_json=args.json)
        job = sandbox.Job("check", DEFAULT_POLICY, args.database, previous=previous, options={"json": args.json})
        return _check(job)
    if source.ruleset is not None:
        return _good(args.config or os.environ.get("GEODROP_CONFIG") or DEFAULT_PATH, config, as_json=args.json)
    user = service_user(config.state)
    databases = args.database or source.databases
    options = {"json": args.json}
    job = sandbox.Job("check", source.policy, databases, previous=previous, options=options, opening=user.acting)
    code = _check(job)
    if code == 0 and not args.json:
        messages.say(f"the daemon's user {harmless(user.name)} can read all of it")
    return code


def _check(job: sandbox.Job) -> int:
    """Check the files that can be opened; report those that cannot together with the other problems."""
    failures: list[GeodropError] = []
    policy = job.policy if job.policy and _opens(open_policy, job.policy, job, failures) else None
    databases = [path for path in job.databases if _opens(open_database, path, job, failures)]
    if policy is None and not databases:
        return say(failures, as_json=bool(job.options["json"]))
    said = [{"exit": one.exit_code, "error": one.message, "next_step": one.next_step} for one in failures]
    options = {**job.options, "failures": said}
    return sandbox.run(replace(job, policy=policy, databases=databases, options=options))


def _opens(open_: Callable[[str], int], path: str, job: sandbox.Job, failures: list[GeodropError]) -> bool:
    try:
        with job.opening():
            os.close(open_(path))
    except GeodropError as failure:
        failures.append(failure)
        return False
    return True


def _good(name: str, config: Config, *, as_json: bool) -> int:
    """Check an agent.yaml whose source is no policy: open the ruleset it names, verifying digest and format."""
    # Imported here because checking a policy needs no ruleset.
    from geodrop.operations.admission import check_file, trusted_keys  # noqa: PLC0415
    from geodrop.ruleset.model import Ruleset  # noqa: PLC0415
    from geodrop.signature.verify import read_signature  # noqa: PLC0415

    names = ("ruleset", "digest", "user", "signature")
    found: dict[str, Any] = {"schema": SCHEMA, "config": name, **dict.fromkeys(names)}
    lines = [f"{harmless(name)}: good"]
    if config.source is None:
        lines[0] += ", names no source"
    elif path := config.source.ruleset:
        user = service_user(config.state)
        store = Store(config.state)
        with user.acting():
            ruleset = Ruleset.open(path, store.rulesets)
            if trusted_keys(config):
                read_signature(path)
        # As this user: one that acts as another still has its own rights, and would pass them on to ssh-keygen.
        signed = check_file(path, ruleset, config, store)
        services = [service.name for service in ruleset.meta.services]
        found |= {"ruleset": path, "digest": ruleset.digest, "services": services, "user": user.name}
        lines.append(f"{harmless(path)}: good, digest {ruleset.digest[:12]}, for {', '.join(services)}")
        lines.append(f"the daemon's user {harmless(user.name)} can read it")
        if signed:
            signer = signed.signer
            found["signature"] = {"principal": signer.principal, "key": signer.key}
            lines.append(f"signed by {harmless(str(signer))}, compiled {utc.moment(signed.compiled)}")
    messages.say(json.dumps(found) if as_json else "\n".join(lines))
    return 0


def _asked_for(config: str | None) -> Container | None:
    """Return the ruleset asked for last, to compare lists with; None if there is none that this user may read."""
    with suppress(GeodropError, FileNotFoundError, PermissionError):
        return Store(load_config(config).state).asked_for()
    return None
