"""Why addresses are accepted or dropped: by what is loaded, and what the kernel's own tables say of them."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from geodrop.dataplane import underway
from geodrop.dataplane.load import what_is_loaded
from geodrop.errors import DataError
from geodrop.ruleset.explain import SCHEMA, explain, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.config import Config
    from geodrop.dataplane.engine import Enforced
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset

BATCH = 256
"""Addresses that the kernel is asked about at once."""
PIECE = 64
"""Addresses of a piece of reading: some 20 ms."""


def explain_loaded(config: Config, addresses: Iterable[str], at: float | None) -> Iterator[dict[str, Any]]:
    """The objects of `explain --json`, as of a time in seconds since the epoch, or of now.

    Raises NotEnforcingError, DataError, PrivilegeError, UnavailableError; an address that is none is an object with
    `error`.
    """
    engine, _, ruleset = what_is_loaded(config)
    return explain_by(ruleset, addresses, at, engine)


def explain_some(config: Config, addresses: Sequence[str], at: float | None) -> Pieces[list[dict[str, Any]]]:
    """The same of a few, piece by piece; each piece by what is loaded then."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(addresses), PIECE):
        found += underway.undisturbed(partial(_piece, config, addresses[start : start + PIECE], at))
        yield
    return found


def _piece(config: Config, addresses: Sequence[str], at: float | None) -> list[dict[str, Any]]:
    return [*explain_loaded(config, addresses, at)]


def explain_by(
    ruleset: Ruleset, addresses: Iterable[str], at: float | None, engine: Enforced | None = None
) -> Iterator[dict[str, Any]]:
    """The same by a ruleset; asks the kernel if it gets an engine."""
    now = time.time() if at is None else at
    asked = iter(addresses)
    while batch := list(islice(asked, BATCH)):
        yield from _explain(ruleset, batch, now, engine)


def _explain(ruleset: Ruleset, batch: list[str], now: float, engine: Enforced | None) -> Iterator[dict[str, Any]]:
    parsed = [_parsed(text) for text in batch]
    good = [address for address in parsed if not isinstance(address, DataError)]
    verdicts = iter(engine.judge(ruleset, list(map(str, good))) if engine and good else ())
    for text, address in zip(batch, parsed, strict=True):
        if isinstance(address, DataError):
            yield {"schema": SCHEMA, "address": text, "error": address.message}
            continue
        kernel = next(verdicts, None)
        for number, explanation in enumerate(explain(ruleset, address, now)):
            found = explanation.as_json()
            if kernel:
                said = kernel[number]
                found["kernel"] = {"verdict": said.verdict, "where": said.where, "target": said.target or None}
            yield found


def _parsed(text: str) -> Address | DataError:
    try:
        return parse_address(text)
    except DataError as failure:
        return failure
