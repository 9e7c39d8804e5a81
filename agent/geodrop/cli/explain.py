"""`geodrop explain`: why is this address accepted or dropped?

Three ways to answer, by what is given: from a policy and databases (in the compile child), from a ruleset file, or,
with neither, from what is loaded, asking the kernel's own tables too.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.config import load_config
from geodrop.errors import DataError, UsageError
from geodrop.ruleset.explain import SCHEMA, explain, parse_address
from geodrop.ruleset.model import Ruleset

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from geodrop.dataplane.engine import Enforced, KernelVerdict


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
        return sandbox.run(sandbox.Job("explain", args.policy, args.database, options=options), timeout=None)
    asked = addresses or (text for line in sys.stdin if (text := line.strip()))
    if args.ruleset:
        return _answer(Ruleset.open(args.ruleset), asked, at, None, as_json=args.json)
    from geodrop.dataplane.load import what_is_loaded  # noqa: PLC0415 - as above

    engine, _, ruleset = what_is_loaded(load_config(args.config))
    return _answer(ruleset, asked, at, engine, as_json=args.json)


def _answer(
    ruleset: Ruleset, addresses: Iterable[str], at: float | None, engine: Enforced | None, *, as_json: bool
) -> int:
    now = time.time() if at is None else at
    code = 0
    for text in addresses:
        try:
            address = parse_address(text)
        except DataError as failure:
            code = failure.exit_code
            if as_json:
                print(json.dumps({"schema": SCHEMA, "address": text, "error": failure.message}))
            else:
                messages.error(failure)
            continue
        kernel = engine.judge(ruleset, [str(address)])[0] if engine else None
        for number, explanation in enumerate(explain(ruleset, address, now)):
            said = kernel[number] if kernel else None
            if as_json:
                print(json.dumps({**explanation.as_json(), **_kernel_object(said)}))
            else:
                print(explanation.as_text() + _kernel_text(said))
    return code


def _kernel_object(said: KernelVerdict | None) -> dict[str, Any]:
    if said is None:
        return {}
    return {"kernel": {"verdict": said.verdict, "where": said.where, "target": said.target or None}}


def _kernel_text(said: KernelVerdict | None) -> str:
    if said is None:
        return ""
    target = f" -> {said.target}" if said.target else ""
    return f"\n    kernel: {said.verdict} ({said.where}{target})"


def _time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text}: not a time", "write for instance 2024-07-09T00:00:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"--at {text}: has no time zone", "add Z or an offset such as +02:00")
    return moment.timestamp()
