"""Explain why addresses are accepted or dropped by the loaded ruleset, and what the kernel's own tables say."""

from __future__ import annotations

import time
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.engine import underway
from geodrop.errors import DataError
from geodrop.operations.load import what_is_loaded
from geodrop.report.exempt import described, exemption_of
from geodrop.ruleset.explain import explain, not_answered
from geodrop.ruleset.question import parse, pieces
from geodrop.state.exemptions import ClockReading
from geodrop.state.store import FOREVER, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.config import Config
    from geodrop.engine.api import Enforced
    from geodrop.report.pieces import Pieces
    from geodrop.ruleset.model import Ruleset
    from geodrop.ruleset.question import Piece, Question
    from geodrop.state.exemptions import Exemption

BATCH = 256
"""Addresses looked up in the kernel at once."""
PIECE = 64
"""Addresses in one piece of a long read: some 20 ms."""


def explain_loaded(config: Config, addresses: Iterable[str], at: float | None) -> Iterator[dict[str, Any]]:
    """Yield the objects of `explain --json`, as of a time in seconds since the epoch, or of now.

    Raises NotEnforcingError, DataError, PrivilegeError, UnavailableError. A text that is neither an address nor a
    prefix gives an object with `error`.
    """
    engine, observed, ruleset = what_is_loaded(config)
    exempt = (Store(config.state).exemptions.read() or ()) if at is None else ()
    answers = explain_by(ruleset, addresses, at, engine, observed.generation)
    return (_exempted(one, exempt) for one in answers) if exempt else answers


def explain_some(config: Config, addresses: Sequence[str], at: float | None) -> Pieces[list[dict[str, Any]]]:
    """Explain a few addresses piece by piece; each piece uses the ruleset that is loaded at its time."""
    found: list[dict[str, Any]] = []
    for portion in _portions(addresses):
        found += underway.undisturbed(partial(_piece, config, portion, at), _agree)
        yield
    return found


def _piece(config: Config, addresses: Sequence[str], at: float | None) -> list[dict[str, Any]]:
    return [*explain_loaded(config, addresses, at)]


def _agree(answers: Iterable[dict[str, Any]]) -> bool:
    return all(one["kernel"]["would_drop"] == one["would_drop"] for one in answers if "kernel" in one)


def _portions(addresses: Sequence[str]) -> Iterator[list[str]]:
    """Split addresses into portions of at most PIECE; a prefix is a portion of its own, since it may take as long."""
    portion: list[str] = []
    for text in addresses:
        if portion and (len(portion) == PIECE or "/" in text or "/" in portion[-1]):
            yield portion
            portion = []
        portion.append(text)
    if portion:
        yield portion


def explain_by(
    ruleset: Ruleset,
    addresses: Iterable[str],
    at: float | None,
    engine: Enforced | None = None,
    generation: int = 0,
) -> Iterator[dict[str, Any]]:
    """Answer from a ruleset; with an engine, also look the addresses up in the kernel and name its generation."""
    now = time.time() if at is None else at
    asked = iter(addresses)
    while batch := list(islice(asked, BATCH)):
        yield from _explain(ruleset, batch, now, engine, generation)


def _explain(
    ruleset: Ruleset, batch: list[str], now: float, engine: Enforced | None, generation: int
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
            for number, explanation in enumerate(explain(ruleset, piece.address, now)):
                answer = explanation.as_json(ruleset, asked, piece)
                if answer["starts"] == utc.moment(FOREVER):
                    answer["starts"] = "resume"  # a pause without an end
                if kernel:
                    said = kernel[number]
                    answer["kernel"] = {
                        "generation": generation,
                        "verdict": said.verdict,
                        "would_drop": said.would_drop,
                        "where": said.where,
                        "target": said.target or None,
                    }
                yield answer


def _exempted(answer: dict[str, Any], exempt: Sequence[Exemption]) -> dict[str, Any]:
    """Return an answer with what exempts its address from the verdict."""
    if "error" in answer:
        return answer
    at = ClockReading.now()
    found = exemption_of(exempt, ip_address(answer["address"]), at) if answer["would_drop"] else None
    return answer | {"verdict": "accept", "exempted": described(found, at)} if found else answer


def _parsed(ruleset: Ruleset, text: str) -> tuple[Question, list[Piece]] | DataError:
    try:
        return (asked := parse(text)), pieces(ruleset, asked)
    except DataError as failure:
        return failure
