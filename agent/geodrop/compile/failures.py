# SPDX-License-Identifier: Apache-2.0
"""Collect the failures of one task and report them together."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.errors import GeodropError, PolicyError, as_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def collecting(failures: list[GeodropError]) -> Iterator[None]:
    """Append a failure to the list and go on, so that all are found."""
    try:
        yield
    except GeodropError as failure:
        failures.append(failure)


def say(failures: Sequence[GeodropError], *, as_json: bool) -> int:
    """Print failures to stderr, with `as_json` also as one object to stdout; return the exit code of the first.

    A policy's problems come first: databases are only read because of it.
    """
    ordered = sorted(failures, key=lambda failure: not isinstance(failure, PolicyError))
    for failure in ordered:
        messages.error(failure)
    if as_json:
        print(json.dumps(as_object(*ordered)))
    return ordered[0].exit_code
