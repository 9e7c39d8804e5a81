"""Why addresses are accepted or dropped: by what is loaded, and what the kernel's own tables say of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geodrop.dataplane.load import what_is_loaded
from geodrop.errors import DataError
from geodrop.ruleset.explain import SCHEMA, explain, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.config import Config
    from geodrop.dataplane.engine import Enforced
    from geodrop.ruleset.model import Ruleset


def explain_loaded(config: Config, addresses: Iterable[str], at: float | None) -> Iterator[dict[str, Any]]:
    """The objects of `explain --json`, as of a time in seconds since the epoch, or of now.

    Raises NotEnforcingError, DataError, PrivilegeError, UnavailableError; an address that is none is an object with
    `error`.
    """
    engine, _, ruleset = what_is_loaded(config)
    return explain_by(ruleset, addresses, at, engine)


def explain_by(
    ruleset: Ruleset, addresses: Iterable[str], at: float | None, engine: Enforced | None = None
) -> Iterator[dict[str, Any]]:
    """The same by a ruleset; asks the kernel if it gets an engine."""
    now = time.time() if at is None else at
    for text in addresses:
        try:
            address = parse_address(text)
        except DataError as failure:
            yield {"schema": SCHEMA, "address": text, "error": failure.message}
            continue
        kernel = engine.judge(ruleset, [str(address)])[0] if engine else None
        for number, explanation in enumerate(explain(ruleset, address, now)):
            found = explanation.as_json()
            if kernel:
                said = kernel[number]
                found["kernel"] = {"verdict": said.verdict, "where": said.where, "target": said.target or None}
            yield found
