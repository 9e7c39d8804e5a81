"""`geodrop explain`: why an address is accepted or dropped.

The arguments choose the source of the answer: a policy and databases (in the compile child), a ruleset file, or, with
neither, the loaded ruleset together with the kernel's own tables.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.cli.options import add_databases
from geodrop.control.client import ask
from geodrop.errors import DataError, UsageError
from geodrop.ruleset.explained import MARGIN, told
from geodrop.ruleset.model import Ruleset
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

BATCH = 256
"""Addresses sent to the daemon in one request."""
LONGEST = 100
"""Characters of one address that the daemon accepts."""
COLOURS = {"DROP": messages.RED, "ACCEPT": messages.GREEN, "test": None, "kernel": None}
"""The first words of lines, and their colours."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.add_argument(
        "addresses",
        nargs="+",
        metavar="ADDRESS",
        help="an address, also as ADDRESS:PORT or [ADDRESS]:PORT, or a prefix; - reads them from stdin, one a line",
    )
    parser.add_argument("--policy", metavar="FILE", help="answer from this policy and databases")
    add_databases(parser, "with --policy: a GeoIP database")
    parser.add_argument("--ruleset", metavar="FILE", help="answer from this ruleset")
    parser.add_argument("--at", metavar="TIME", help="as of this time, such as 2024-07-09T00:00:00Z (default: now)")
    parser.add_argument("-v", "--verbose", action="store_true", help="also zone, rung, database record, kernel map")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def run(args: argparse.Namespace) -> int:
    """Explain each address for each service."""
    if (args.database and not args.policy) or (args.policy and args.ruleset):
        raise UsageError("--database goes with --policy, and --ruleset with neither", "see geodrop explain --help")
    addresses = [] if args.addresses == ["-"] else args.addresses
    at = None if args.at is None else _time(args.at)
    if args.policy:
        from geodrop.compile import sandbox  # noqa: PLC0415 - each way of answering imports its own

        options = {"addresses": addresses, "json": args.json, "at": at, "verbose": args.verbose}
        databases = args.database or _databases(args.config)
        job = sandbox.Job("explain", args.policy, databases, options=options)
        return sandbox.run(job, timeout=None, reads=not addresses)
    asked = addresses or (text for line in sys.stdin if (text := line.strip()))
    if args.ruleset:
        from geodrop.report.explain import explain_by  # noqa: PLC0415 - as above

        answers = explain_by(Ruleset.open(args.ruleset), asked, at)
    else:
        answers = _by_what_is_loaded(args.config, iter(asked), at)
    if args.json:
        return _as_json(answers)
    return _for_people(answers, several=len(addresses) != 1, verbose=args.verbose, then=at is not None)


def _databases(config_path: str | None) -> tuple[str, ...]:
    from geodrop.config import load_config  # noqa: PLC0415 - as above

    source = load_config(config_path).source
    if source is None or not source.databases:
        raise UsageError("--policy needs databases, and agent.yaml names none", "add --database FILE")
    return source.databases


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
    """Shorten a text that is too long to be an address: it is answered with an error that quotes its beginning."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _as_json(answers: Iterable[dict[str, Any]]) -> int:
    code = 0
    for one in answers:
        code = DataError.exit_code if "error" in one else code
        print(json.dumps(one))
    return code


def _for_people(answers: Iterable[dict[str, Any]], *, several: bool, verbose: bool, then: bool) -> int:
    code = 0
    for bad, group in groupby(answers, key=lambda one: "error" in one):
        if bad:
            code = DataError.exit_code
            for one in group:
                messages.error(DataError(one["error"], one["next_step"]))
            continue
        for line in describe(group, several=several, verbose=verbose, then=then):
            messages.say(line)
    return code


def describe(
    answers: Iterable[dict[str, Any]], *, several: bool, verbose: bool = False, then: bool = False
) -> Iterator[str]:
    """Return the lines for a person: the first word of each in its colour, the text behind it in a column."""
    return map(_painted, told(map(shown, answers), several=several, verbose=verbose, then=then))


def _painted(line: str) -> str:
    word, text = line[:MARGIN].strip(), line[MARGIN:]
    if word in COLOURS or not word:
        differs = word == "kernel" and not text.startswith("agrees")
        return messages.entry(word, text, MARGIN, messages.RED if differs else COLOURS.get(word))
    return messages.paint(line, messages.BOLD)


def _time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text}: not a time", "write for instance 2024-07-09T00:00:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"--at {text}: has no time zone", "add Z or an offset such as +02:00")
    return moment.timestamp()
