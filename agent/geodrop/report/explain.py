# SPDX-License-Identifier: Apache-2.0
"""Explain why addresses are accepted or dropped by the loaded ruleset, and what the kernel's own tables say."""

from __future__ import annotations

import time
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.engine import underway
from geodrop.engine.api import Observed
from geodrop.errors import DataError
from geodrop.operations.load import what_is_loaded
from geodrop.report.exempt import described, exemption_of
from geodrop.report.explain_details import add_details
from geodrop.report.in_force import in_force_then
from geodrop.report.pieces import whole
from geodrop.ruleset.explain import explain_piece, not_answered
from geodrop.ruleset.question import Question, parse, pieces
from geodrop.ruleset.region_parts import chosen, parts_of
from geodrop.ruleset.region_question import meant_as_region, parse_region
from geodrop.state.exemptions import ClockReading
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.config import Config
    from geodrop.engine.api import Enforced
    from geodrop.report.in_force import Then
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.model import Ruleset
    from geodrop.ruleset.question import Piece
    from geodrop.ruleset.region_question import RegionQuestion
    from geodrop.state.exemptions import Exemption

BATCH = 256
"""Addresses looked up in the kernel at once."""
PIECE = 64
"""Addresses in one piece of a long read: some 20 ms."""


def explain_loaded(
    config: Config, addresses: Iterable[str], at: float | None, then: Then | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the objects of `explain --json`, as of a time in seconds since the epoch, or of now.

    For a time that has passed, `then` is what was in force.

    Raises NotEnforcingError, DataError, PrivilegeError, UnavailableError. A text that is neither an address nor a
    prefix or region gives an object with `error`.
    """
    if then and then.ruleset:
        answers = explain_by(then.ruleset, addresses, at)
    else:
        engine, observed, ruleset = what_is_loaded(config)
        answers = explain_by(ruleset, addresses, at, engine, observed)
    exempt = (Store(config.state).exemptions.read() or ()) if at is None else ()
    named = then.as_json() if then else None
    return (_on_this_host(one, exempt, named) for one in answers)


def explain_some(
    config: Config, addresses: Sequence[str], at: float | None, *, details: bool | None = None
) -> Pieces[list[dict[str, Any]]]:
    """Explain a few addresses piece by piece; each piece uses the ruleset that is loaded at its time.

    With `details` answers about now also have `since` and `counters`. Raises what `explain_loaded` and `in_force_then`
    raise.
    """
    found: list[dict[str, Any]] = []
    then = yield from asked_then(config, at)
    for portion in _portions(addresses):
        if meant_as_region(portion[0]):
            yield from parts_of(then.ruleset if then and then.ruleset else _loaded(config))
        found += underway.undisturbed(partial(_piece, config, portion, at, then), _agree)
        yield
    return (yield from add_details(config, found)) if details and at is None else found


def asked_then(config: Config, at: float | None) -> Pieces[Then | None]:
    """Find what was in force at the time asked for; None if that is now, or in the future. Raises as in_force_then."""
    now = time.time()
    return None if at is None or at >= now else (yield from in_force_then(config, at, now))


def _loaded(config: Config) -> Ruleset:
    return underway.undisturbed(partial(what_is_loaded, config))[2]


def _piece(config: Config, addresses: Sequence[str], at: float | None, then: Then | None) -> list[dict[str, Any]]:
    return [*explain_loaded(config, addresses, at, then)]


def _agree(answers: Iterable[dict[str, Any]]) -> bool:
    return all(one["kernel"]["would_drop"] == one["would_drop"] for one in answers if "kernel" in one)


def _portions(addresses: Sequence[str]) -> Iterator[list[str]]:
    """Split addresses into portions of at most PIECE. A prefix or a region is a portion of its own, since it may take
    as long.
    """
    portion: list[str] = []
    for text in addresses:
        if portion and (len(portion) == PIECE or _long(text) or _long(portion[-1])):
            yield portion
            portion = []
        portion.append(text)
    if portion:
        yield portion


def _long(text: str) -> bool:
    return "/" in text or meant_as_region(text)


def explain_by(
    ruleset: Ruleset,
    addresses: Iterable[str],
    at: float | None,
    engine: Enforced | None = None,
    observed: Observed | None = None,
) -> Iterator[dict[str, Any]]:
    """Answer from a ruleset; with an engine, also look the addresses up in what was `observed` in the kernel."""
    now = time.time() if at is None else at
    asked = iter(addresses)
    while batch := list(islice(asked, BATCH)):
        yield from _explain(ruleset, batch, now, engine, observed or Observed())


def _explain(
    ruleset: Ruleset, batch: list[str], now: float, engine: Enforced | None, observed: Observed
) -> Iterator[dict[str, Any]]:
    parsed = [_parsed(ruleset, text) for text in batch]
    judged = [str(piece.address) for one in parsed if not isinstance(one, DataError) for piece in one[1]]
    verdicts = iter(engine.judge(ruleset, judged) if engine and judged else ())
    for text, one in zip(batch, parsed, strict=True):
        if isinstance(one, DataError):
            yield not_answered(text, one)
            continue
        asked, found = one
        for piece in found:
            kernel = next(verdicts, None)
            for number, explanation in enumerate(explain_piece(ruleset, asked, piece, now)):
                answer = explanation.as_json(ruleset, asked, piece)
                if answer["starts"] == utc.moment(FOREVER):
                    answer["starts"] = "resume"  # a pause without an end
                if kernel:
                    said = kernel[number]
                    # Of a region one address is looked up, which may be exempt: that says nothing about the others.
                    alone = said.exempted and not isinstance(asked, Question)
                    answer["kernel"] = {
                        "generation": observed.generation,
                        "digest": observed.digest,
                        "verdict": "drop" if alone else said.verdict,
                        "would_drop": said.would_drop,
                        "where": said.where,
                        "target": said.target or None,
                    }
                yield answer


def _on_this_host(
    answer: dict[str, Any], exempt: Sequence[Exemption], in_force: dict[str, Any] | None
) -> dict[str, Any]:
    """Return an answer with what exempts its address from the verdict, and what was in force at the time asked for."""
    if "error" in answer:
        return answer
    answer |= {"in_force": in_force, "since": None, "counters": []}
    # An exemption of one address says nothing about its region.
    if not exempt or not answer["would_drop"] or "subject" in answer:
        return answer
    at = ClockReading.now()
    found = exemption_of(exempt, ip_address(answer["address"]), at)
    return answer | {"verdict": "accept", "exempted": described(found, at)} if found else answer


def _parsed(ruleset: Ruleset, text: str) -> tuple[Question | RegionQuestion, list[Piece]] | DataError:
    try:
        if region := parse_region(text, ruleset.meta):
            return chosen(ruleset, whole(parts_of(ruleset)), region)
        return (asked := parse(text)), pieces(ruleset, asked)
    except DataError as failure:
        return failure
