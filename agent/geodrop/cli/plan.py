# SPDX-License-Identifier: Apache-2.0
"""`geodrop plan`: what a reload would change, before it changes; or what loading a ruleset file would."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.cli.options import add_databases
from geodrop.control.client import ask
from geodrop.errors import ApplyError, DataDeniedError, HeldError, PrivilegeError, UsageError
from geodrop.plan import operators
from geodrop.plan.told import LAST, told
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse

    from geodrop.config import Config, Source
    from geodrop.plan.operators import SshPeer

COLOURS = {"held": messages.RED, "refused": messages.RED}
MARGIN = 6
"""The least width in columns of the first word."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `plan`."""
    parser.add_argument(
        "ruleset",
        nargs="?",
        metavar="RULESET",
        help="a ruleset file (default: what agent.yaml names, compiled as a reload would)",
    )
    parser.add_argument("--policy", metavar="FILE", help="plan this policy (default: that of agent.yaml)")
    add_databases(parser)
    parser.add_argument(
        "--exit-code",
        action="store_true",
        help="exit 1 if something would change, 5 if a limit would hold it, as a reload does if it would be refused",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what would change. Return 0 whatever that is; with --exit-code 1 for a change, 5 for a held one, and the
    code of the failure if a reload would be refused.
    """
    if args.ruleset and (args.policy or args.database):
        raise UsageError("RULESET goes with neither --policy nor --database", "see geodrop plan --help")
    operator = operators.of_this_command()
    plan = None
    if not (args.ruleset or args.policy or args.database):
        plan = _by_the_daemon(operator)
    if plan is None:
        try:
            plan = _here(args, operator)
        except DataDeniedError:
            raise  # which file, and whose right is missing
        except PrivilegeError as failure:
            step = "run as root; what agent.yaml names is planned for members of geodrop-monitor too: geodrop plan"
            raise PrivilegeError(failure.message, step) from failure
    if args.json:
        print(json.dumps(plan))
    else:
        describe(plan)
    if args.exit_code and (refused := plan.get("refused")):  # a daemon of before does not say
        return int(refused["exit"])
    if args.exit_code and plan["changes"]:
        return HeldError.exit_code if plan["held"] else ApplyError.exit_code
    return 0


def _by_the_daemon(operator: SshPeer | None) -> dict[str, Any] | None:
    """Ask the daemon, which compiles what it would reload; None if none runs."""
    answer = ask("plan", {"ssh": operator.as_text() if operator else ""})
    if answer is None:
        return None
    if warnings := answer.get("warnings"):
        messages.say(warnings, sys.stderr)
    found: dict[str, Any] = answer["data"]
    return found


def _here(args: argparse.Namespace, operator: SshPeer | None) -> dict[str, Any]:
    # Imported here because a running daemon has already imported all of it; other verbs do the same.
    from geodrop.compile.sandbox import Child  # noqa: PLC0415
    from geodrop.config import load_config  # noqa: PLC0415
    from geodrop.daemon.source import make_apart  # noqa: PLC0415
    from geodrop.operations.admission import refusal  # noqa: PLC0415
    from geodrop.operations.in_force import read_in_force  # noqa: PLC0415
    from geodrop.plan.plan import make_plan, read_facts  # noqa: PLC0415
    from geodrop.state.store import Store  # noqa: PLC0415

    config = load_config(args.config)
    source = _source(args, config)
    with Child.start() as child:
        found = read_in_force(config)
        made, change = make_apart(source, config, found.ruleset, child)
    if made.warnings:
        messages.say(made.warnings, sys.stderr)
    facts = read_facts(operator)
    refused = refusal(source.ruleset, made.ruleset, config, Store(config.state))
    plan = make_plan(
        found.ruleset, made.ruleset, change, facts, paused=found.paused, exempt=found.exempt, refused=refused
    )
    return plan.as_json()


def _source(args: argparse.Namespace, config: Config) -> Source:
    """Return what to plan: what the arguments name, and for the rest what agent.yaml names."""
    from geodrop.config import Source  # noqa: PLC0415 - as above
    from geodrop.daemon.source import source_of  # noqa: PLC0415

    if args.ruleset:
        return Source(ruleset=args.ruleset)
    if args.policy and args.database:
        return Source(args.policy, tuple(args.database))
    named = source_of(config)
    if not (args.policy or args.database):
        return named
    found = Source(args.policy or named.policy, tuple(args.database) or named.databases)
    if found.policy is None or not found.databases:
        raise UsageError("agent.yaml names a ruleset, so it lacks the rest", "give both --policy and --database")
    return found


def describe(plan: dict[str, Any]) -> None:
    """Print a plan for a person, and its warnings to stderr."""
    plan = shown(plan)
    lines = list(told(plan))
    margin = max(MARGIN, *(len(word) + 2 for word, _ in lines if word != LAST))
    for word, text in lines:
        messages.say(messages.entry(word, text, margin if word != LAST else len(LAST) + 1, COLOURS.get(word)))
    for warning in plan["warnings"]:
        messages.warning(warning)
