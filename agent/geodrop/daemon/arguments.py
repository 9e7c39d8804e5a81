# SPDX-License-Identifier: Apache-2.0
"""Check the arguments of a request: each has a type and a range. A handler gets checked arguments only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop.errors import UsageError
from geodrop.plan.limits import SHORTEST
from geodrop.state import unconfirmed
from geodrop.state.intent import FOREVER
from geodrop.state.names import MAX_WHY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ADDRESSES = 256
MAX_ADDRESS = 100
"""Characters of one address; nothing longer is an address or a prefix."""
MAX_COUNT = 1 << 30
MAX_GENERATION = 1 << 53
"""The largest range of whole numbers that every JSON reader represents exactly."""
YEAR_1, YEAR_9999 = -62_135_596_800, 253_402_300_799
"""The first second of both years, in seconds since the epoch."""

REQUIRED = object()
_DIGITS = re.compile(f"[0-9a-f]{{{SHORTEST},64}}")

_BEGINNING = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: `what` it must be, for a person; whether a value `takes`; the `default` of an optional argument."""

    what: str
    takes: Callable[[Any], bool]
    default: object = REQUIRED


def number(low: int, high: int) -> Argument:
    """Return an argument that takes a whole number within a range, both ends included."""
    return Argument(
        f"a whole number from {low:,} to {high:,}",
        lambda value: type(value) is int and low <= value <= high,  # bool is an int as well
    )


def optional(argument: Argument) -> Argument:
    """Return an argument that takes what `argument` takes, or null; null is the default."""
    return Argument(f"null or {argument.what}", lambda value: value is None or argument.takes(value), None)


FLAG = Argument("true or false", lambda value: isinstance(value, bool))
WHY = Argument(
    f"text of at most {MAX_WHY:,} characters", lambda value: isinstance(value, str) and len(value) <= MAX_WHY, ""
)
WITHIN = optional(number(unconfirmed.SHORTEST, unconfirmed.LONGEST))
"""Seconds within which a load has to be confirmed."""
BEGINNING = Argument(
    "the first 12 to 64 digits of a digest, or nothing",
    lambda value: isinstance(value, str) and (not value or bool(_BEGINNING.fullmatch(value))),
    "",
)
MAX_HEADS = 500
HEADS = Argument(
    f"a list of at most {MAX_HEADS:,} hashes of records, each with its first 12 to 64 digits",
    lambda value: (
        isinstance(value, list)
        and len(value) <= MAX_HEADS
        and all(isinstance(text, str) and _BEGINNING.fullmatch(text) for text in value)
    ),
)
COUNT = number(1, MAX_COUNT)
GENERATION = number(1, MAX_GENERATION)
SSH_CONNECTION = Argument(
    f"text of at most {2 * MAX_ADDRESS} characters",
    lambda value: isinstance(value, str) and len(value) <= 2 * MAX_ADDRESS,
    "",
)
"""What sshd put into the environment of the asking command; empty if it knows of no SSH connection."""
ACCEPTED = Argument(
    f"the first {SHORTEST} to 64 digits of a digest",
    lambda value: isinstance(value, str) and (not value or _DIGITS.fullmatch(value) is not None),
    "",
)
"""The ruleset that a user accepts beyond the limits; empty for none."""
END = number(1, FOREVER)
"""The end of a pause, in seconds since the epoch."""
MOMENT = Argument(
    "a time in seconds since the epoch, of the years 1 to 9999",
    lambda value: type(value) in (int, float) and YEAR_1 <= value <= YEAR_9999,  # not a number is in no range
)
SECONDS = number(1, MAX_COUNT)
ADDRESS = Argument(
    f"a text of at most {MAX_ADDRESS} characters", lambda value: isinstance(value, str) and len(value) <= MAX_ADDRESS
)
ADDRESSES = Argument(
    f"a list of at most {MAX_ADDRESSES} texts of at most {MAX_ADDRESS} characters",
    lambda value: (
        isinstance(value, list)
        and len(value) <= MAX_ADDRESSES
        and all(isinstance(text, str) and len(text) <= MAX_ADDRESS for text in value)
    ),
)


def checked(verb: str, arguments: Mapping[str, Argument], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a verb. Raises UsageError for an unknown, missing or out-of-range argument."""
    for name in given:
        if name not in arguments:
            raise UsageError(f"{verb} takes no `{name[:MAX_ADDRESS]}`", "restart the daemon, if geodrop was upgraded")
    found = {name: given.get(name, argument.default) for name, argument in arguments.items()}
    for name, value in found.items():
        if not arguments[name].takes(value):
            raise UsageError(f"{verb}: `{name}` has to be {arguments[name].what}", "correct it, or upgrade the command")
    return found
