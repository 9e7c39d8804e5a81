# SPDX-License-Identifier: Apache-2.0
"""`geodrop reload`: the daemon reads policy and databases again and loads the result; `systemctl reload` runs this."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.control.client import ask
from geodrop.errors import UnavailableError, UsageError
from geodrop.plan import operators
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse

DIGEST = re.compile("[0-9a-f]{12,64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reload`."""
    # Not imported at the top: a plain reload is asked for before argparse could be imported (see cli/main.py).
    from geodrop.cli.numbers import add_confirmation  # noqa: PLC0415

    parser.add_argument(
        "--accept", metavar="DIGEST", default="", help="load exactly this ruleset, although a limit holds it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_confirmation(parser)


def run(args: argparse.Namespace) -> int:
    """Wait until the result is in force, or the reload failed or is held and nothing changed; print one line on what
    changed. Raises UsageError for an --accept that is no digest.
    """
    if args.accept and not DIGEST.fullmatch(args.accept):
        raise UsageError(f"--accept {args.accept}: no digest, or too short", "give what geodrop plan or reload said")
    operator = operators.of_this_command()
    asked = {"accept": args.accept, "ssh": operator.as_text() if operator else ""}
    given = {"confirm_within": args.confirm_within, "why": args.why}
    asked |= {name: value for name, value in given.items() if value}
    answer = ask("reload", asked, progress=_show if sys.stderr.isatty() else None)
    if answer is None:
        raise UnavailableError("no daemon runs here", "start it: systemctl start geodrop; or: geodrop load FILE")
    if warnings := answer.get("warnings"):
        messages.say(warnings, sys.stderr)
    if args.json:
        print(json.dumps(answer["data"]))
    else:
        messages.say(shown(answer["text"]))
        if waits := answer["data"]["confirm"]:
            from geodrop.cli.unconfirmed import lines  # noqa: PLC0415 - few reloads need it

            for line in lines(waits):
                messages.say(shown(line))
    return 0


def _show(phase: str) -> None:
    messages.say(f"{shown(phase)} ...", sys.stderr)
