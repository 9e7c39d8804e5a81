# SPDX-License-Identifier: Apache-2.0
"""The `geodrop` command: import the module of the verb and no other, and turn failures into exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING

from geodrop import __version__, messages
from geodrop.errors import EXIT_BUG, GeodropError, as_object

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

VERBS = {
    "check": "validate a policy, without privileges",
    "compile": "build a ruleset file from a policy and databases, without privileges",
    "run": "the daemon: keep the policy in force",
    "plan": "what a reload would change, before it changes",
    "reload": "have the daemon read policy and databases again",
    "load": "make the kernel match a ruleset, atomically",
    "unload": "remove everything of geodrop's from the kernel, nothing else",
    "confirm": "keep what a load with --confirm-within has put in force",
    "rollback": "go back to the policy before the one in force",
    "history": "what was in force when, by whom, and what failed",
    "pause": "break glass: drop nothing, go on counting",
    "resume": "end a pause",
    "exempt": "let one source pass for a limited time, on this host only",
    "explain": "why an address is accepted or dropped",
    "regions": "territories and groups that a policy can name, with codes and sizes, without privileges",
    "simulate": "what a policy would drop of the requests in a log, without privileges",
    "export": "a ruleset for stock tools: nft text, prefixes or JSON, without privileges",
    "status": "what is in force, and whether it is healthy",
    "fleet": "many hosts side by side, from the status of each: which differ, and why; without privileges",
    "counters": "drops by service and region",
    "verify": "compare the kernel with the ruleset it should hold",
    "doctor": "what this host can do, and what is missing",
    "demo": "the whole thing in throw-away network namespaces",
}
"""Every verb and what it does, in the order of `--help`; the module of a verb has its name."""

HELP = {"-h", "--help"}

INTERRUPTED = 130
"""What shells report for SIGINT (128 + 2)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = None
    try:
        args = _at_once(given) or build_parser(given).parse_args(given)
        code = args.run(args)
        sys.stdout.flush()
    except GeodropError as failure:
        messages.error(failure)
        if getattr(args, "json", False):
            import json  # noqa: PLC0415 - the verb has it by now

            print(json.dumps(as_object(failure)))
        return failure.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe, which is no failure. Without this, Python would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - a bug: the one place that catches all, because the contract gives it a code
        import traceback  # noqa: PLC0415 - takes longer to import than a reload to be asked for

        messages.say(traceback.format_exc().rstrip(), sys.stderr)
        messages.say("geodrop: this is a bug; please report it with the lines above", sys.stderr)
        return EXIT_BUG
    return int(code)


def _at_once(given: Sequence[str]) -> SimpleNamespace | None:
    """Return the arguments of a plain reload: importing argparse would take as long as the rest of the command."""
    if given not in (["reload"], ["reload", "--json"]):
        return None
    run = import_module("geodrop.cli.reload").run
    return SimpleNamespace(run=run, json=len(given) > 1, accept="", confirm_within=None, why="")


def build_parser(given: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser; only the verb in `given` gets its arguments, so that no other module is imported."""
    import argparse  # noqa: PLC0415 - see _at_once

    parser = argparse.ArgumentParser(
        prog="geodrop", description="Drop packets from regions a service does not support, in the kernel."
    )
    parser.add_argument("--version", action="version", version=f"geodrop {__version__}")
    _add_config(parser, default=None)
    # Without `prog` argparse imports shutil, and much with it.
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="geodrop")
    wanted = next((word for word in given if word in VERBS), None)
    for name, summary in VERBS.items():
        if wanted and name != wanted and not HELP & set(given):
            continue
        verb = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        _add_config(verb, default=argparse.SUPPRESS)
        if name == wanted:
            module = import_module(f"geodrop.cli.{name}")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    return parser


def _add_config(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=default,
        help="another agent.yaml (default: $GEODROP_CONFIG or /etc/geodrop)",
    )
