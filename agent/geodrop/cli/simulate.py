# SPDX-License-Identifier: Apache-2.0
"""`geodrop simulate`: what a policy would drop, or would have dropped, of the requests in a log."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from geodrop.cli.options import add_databases
from geodrop.compile import sandbox
from geodrop.compile.sandbox import MAX_LOGS, STANDARD_INPUT
from geodrop.errors import UsageError
from geodrop.ruleset import container
from geodrop.ruleset.sealed import seal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from geodrop.ruleset.container import Container


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate`."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an access log of nginx or Apache, JSON objects, or addresses, one a line; may be gzip; - for stdin",
    )
    parser.add_argument("--policy", metavar="FILE", help="what this policy would drop (default: that of agent.yaml)")
    add_databases(parser, "with --policy: a GeoIP database")
    parser.add_argument("--ruleset", metavar="FILE", help="what this ruleset would drop")
    parser.add_argument("--against", metavar="RULESET", help="only what differs from this ruleset")
    parser.add_argument("--service", metavar="NAME", help="as this service drops (default: as any service does)")
    parser.add_argument(
        "--field", metavar="NAME", help="the address in JSON objects; a.b for an object in an object (default: found)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compile the policy, if one is given, and have a child go through the logs."""
    if args.policy and args.ruleset:
        raise UsageError("--policy and --ruleset: either the one or the other", "leave one of them out")
    if args.database and args.ruleset:
        raise UsageError("a ruleset needs no --database", "leave it out, or name a --policy")
    if args.files.count(STANDARD_INPUT) > 1:
        raise UsageError("- can be read only once", "name it once")
    if len(args.files) > MAX_LOGS:
        raise UsageError(f"{len(args.files)} logs", f"give at most {MAX_LOGS}, or one stream: zcat -f FILE... | ... -")
    policy, databases, path = args.policy, args.database, args.ruleset
    if not path and not (policy and databases):
        policy, databases, path = _source(args.config, policy, databases)
    before = container.open_file(args.against) if args.against else None
    logs = args.files
    ruleset = container.open_file(path) if path else None
    if ruleset is None:
        ruleset, code = _compiled(policy, databases)
        if ruleset is None:
            return code
    options = {
        "json": args.json,
        "field": args.field,
        "service": args.service,
        "progress": sys.stderr.isatty() and not args.json,
    }
    job = sandbox.Job("simulate", ruleset=_memories(ruleset), previous=_memories(before), logs=logs, options=options)
    return sandbox.run(job, timeout=None, reads=STANDARD_INPUT in logs)


def _source(
    config: str | None, policy: str | None, databases: Sequence[str]
) -> tuple[str | None, Sequence[str], str | None]:
    """Fill in from agent.yaml what was not given: policy and databases, or a ruleset."""
    from geodrop.config import load_config  # noqa: PLC0415 - only what is not given needs it

    source = load_config(config).source
    if policy is None and source is not None and source.ruleset:
        return None, (), source.ruleset
    policy = policy or (source.policy if source else None)
    databases = databases or (source.databases if source else ())
    if not policy or not databases:
        raise UsageError("neither given nor in agent.yaml: a policy with databases, or a ruleset", "add --policy FILE")
    return policy, databases, None


def _compiled(policy: str | None, databases: Sequence[str]) -> tuple[Container | None, int]:
    """Compile into memory; return the ruleset, or None with the exit code."""
    output = os.memfd_create("ruleset", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        code = sandbox.run(sandbox.Job("compile", policy, databases, output, options={"untested": True}))
        if code:
            return None, code
        seal(output)
        return container.open_descriptors([output], "the compiled policy"), 0
    finally:
        os.close(output)


def _memories(opened: Container | None) -> list[int]:
    return [memory.descriptor for memory in opened.memories()] if opened else []
