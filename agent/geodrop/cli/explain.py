"""`geodrop explain`: why is this address accepted or dropped?

Three ways to answer, by what is given: from a policy and databases (in the compile child), from a ruleset file, or,
with neither, from what is loaded, asking the kernel's own tables too.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.control.client import ask
from geodrop.errors import DataError, UsageError
from geodrop.ruleset.explain import Explanation
from geodrop.ruleset.model import Ruleset
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

BATCH = 256
"""Addresses that the daemon is asked about at once."""
LONGEST = 100
"""Characters of an address that it takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `explain`."""
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="IPv4 or IPv6; - reads them from stdin")
    parser.add_argument("--policy", metavar="FILE", help="answer from this policy, with --database")
    parser.add_argument("--database", action="append", default=[], metavar="FILE", help="a GeoIP database")
    parser.add_argument("--ruleset", metavar="FILE", help="answer from this ruleset")
    parser.add_argument("--at", metavar="TIME", help="as of this time, such as 2024-07-09T00:00:00Z (default: now)")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def run(args: argparse.Namespace) -> int:
    """Explain each address for each service."""
    if bool(args.policy) != bool(args.database) or (args.policy and args.ruleset):
        raise UsageError("give --policy with --database, or --ruleset, or neither", "see geodrop explain --help")
    addresses = [] if args.addresses == ["-"] else args.addresses
    at = None if args.at is None else _time(args.at)
    if args.policy:
        from geodrop.compile import sandbox  # noqa: PLC0415 - each way of answering imports its own

        options = {"addresses": addresses, "json": args.json, "at": at}
        job = sandbox.Job("explain", args.policy, args.database, options=options)
        return sandbox.run(job, timeout=None, reads=not addresses)
    asked = addresses or (text for line in sys.stdin if (text := line.strip()))
    if args.ruleset:
        from geodrop.report.explain import explain_by  # noqa: PLC0415 - as above

        return _show(explain_by(Ruleset.open(args.ruleset), asked, at), as_json=args.json)
    return _show(_by_what_is_loaded(args.config, iter(asked), at), as_json=args.json)


def _by_what_is_loaded(config_path: str | None, asked: Iterator[str], at: float | None) -> Iterator[dict[str, Any]]:
    while batch := list(islice(asked, BATCH)):
        answer = ask("explain", {"addresses": [_shortened(text) for text in batch], "at": at})
        if answer is None:
            from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
            from geodrop.report.explain import explain_loaded  # noqa: PLC0415

            yield from explain_loaded(config_or_assumed(config_path), chain(batch, asked), at)
            return
        yield from answer["data"]


def _shortened(text: str) -> str:
    """What is too long to be an address is answered as none, by its beginning."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _show(found: Iterable[dict[str, Any]], *, as_json: bool) -> int:
    code = 0
    for one in found:
        if "error" in one:
            code = DataError.exit_code
        if as_json:
            print(json.dumps(one))
        elif "error" in one:
            messages.error(DataError(one["error"], "give a single address, without prefix"))
        else:
            messages.say(describe(one))
    return code


def describe(one: dict[str, Any]) -> str:
    """One answer for a person: a line, and what the kernel says."""
    one = shown(one)
    return Explanation.of(one).as_text() + _kernel_text(one.get("kernel"))


def _kernel_text(said: dict[str, Any] | None) -> str:
    if said is None:
        return ""
    target = f" -> {said['target']}" if said["target"] else ""
    return f"\n    kernel: {said['verdict']} ({said['where']}{target})"


def _time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text}: not a time", "write for instance 2024-07-09T00:00:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"--at {text}: has no time zone", "add Z or an offset such as +02:00")
    return moment.timestamp()
