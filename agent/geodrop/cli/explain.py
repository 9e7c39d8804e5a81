# SPDX-License-Identifier: Apache-2.0
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
from geodrop.ruleset.explained import told
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.verdict_text import MARGIN, WORDS
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

BATCH = 256
"""Addresses sent to the daemon in one request."""
DETAILED = 16
"""Most questions whose answers say since when a verdict stands, and how many packets were dropped."""
LONGEST = 100
"""Characters of one address that the daemon accepts."""
COLOURS = {"DROP": messages.RED, "ACCEPT": messages.GREEN}
"""The colours of first words."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.add_argument(
        "addresses",
        nargs="+",
        metavar="ADDRESS",
        help="an address, also as ADDRESS:PORT or [ADDRESS]:PORT, a prefix, a country (CN), a subdivision (UA-43), "
        "continent:AS, territory:NAME, atlas:NAME, group:NAME or unknown; - reads them from stdin, one a line",
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

        ruleset = Ruleset.open(args.ruleset)
        if args.json:
            return _many_as_json(ruleset, iter(asked), at)
        answers = explain_by(ruleset, asked, at)
    else:
        details = 0 < len(addresses) <= DETAILED
        answers = _by_what_is_loaded(args.config, iter(asked), at, details=details)
    if args.json:
        return _as_json(answers)
    return _for_people(answers, several=len(addresses) != 1, verbose=args.verbose, then=at is not None)


def _databases(config_path: str | None) -> tuple[str, ...]:
    from geodrop.config import load_config  # noqa: PLC0415 - as above

    source = load_config(config_path).source
    if source is None or not source.databases:
        raise UsageError("--policy needs databases, and agent.yaml names none", "add --database FILE")
    return source.databases


def _by_what_is_loaded(
    config_path: str | None, asked: Iterator[str], at: float | None, *, details: bool
) -> Iterator[dict[str, Any]]:
    """Yield the answers about this host, each with `daemon`: whether one is running. JSON does not have that."""
    while batch := list(islice(asked, BATCH)):
        answer = ask("explain", {"addresses": [_shortened(text) for text in batch], "at": at, "details": details})
        if answer is None:
            from geodrop.cli.glass import config_or_assumed  # noqa: PLC0415 - see cli/status.py
            from geodrop.report.explain import asked_then, explain_loaded, explain_some  # noqa: PLC0415
            from geodrop.report.pieces import whole  # noqa: PLC0415

            config = config_or_assumed(config_path)
            found: Iterable[dict[str, Any]]
            if details:
                found = whole(explain_some(config, batch, at, details=details))
            else:
                found = explain_loaded(config, chain(batch, asked), at, whole(asked_then(config, at)))
            yield from (one | {"daemon": False} for one in found)
            return
        yield from (one | {"daemon": True} for one in answer["data"])


def _shortened(text: str) -> str:
    """Shorten a text that is too long to be an address: it is answered with an error that quotes its beginning."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _many_as_json(ruleset: Ruleset, asked: Iterator[str], at: float | None) -> int:
    """Print the objects about a ruleset, whatever their number: what is the same for many addresses is made once."""
    from geodrop.report.explain import explain_by  # noqa: PLC0415 - as above
    from geodrop.ruleset.json_lines import JsonLines  # noqa: PLC0415

    code, quick = 0, JsonLines(ruleset, at)
    while batch := list(islice(asked, BATCH)):
        lines: list[str] = []
        for text in batch:
            found = quick.of(text)
            if found is None:
                answers = list(explain_by(ruleset, [text], at))
                code = DataError.exit_code if "error" in answers[0] else code
                found = list(map(json.dumps, answers))
            lines += found
        messages.data(lines)
    return code


def _as_json(answers: Iterable[dict[str, Any]]) -> int:
    code = 0
    for one in answers:
        code = DataError.exit_code if "error" in one else code
        print(json.dumps({name: value for name, value in one.items() if name != "daemon"}))
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
    if word in WORDS or not word:
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
