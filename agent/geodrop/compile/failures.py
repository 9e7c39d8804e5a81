"""Several failures of one task: found one after the other, and said together."""

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
    """Go on after a failure, so that all are found."""
    try:
        yield
    except GeodropError as failure:
        failures.append(failure)


def say(failures: Sequence[GeodropError], *, as_json: bool) -> int:
    """Say them on stderr, and as one object on stdout if that is asked for; the exit code is that of the first.

    A policy's problems come first: databases are looked at for its sake.
    """
    ordered = sorted(failures, key=lambda failure: not isinstance(failure, PolicyError))
    for failure in ordered:
        messages.error(failure)
    if as_json:
        print(json.dumps(as_object(*ordered)))
    return ordered[0].exit_code
