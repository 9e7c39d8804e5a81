# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.daemon.arguments import Argument, checked
from geodrop.daemon.verbs import VERBS
from geodrop.errors import UsageError
from geodrop.state.intent import FOREVER
from geodrop.state.names import MAX_WHY

GOOD: dict[str, dict[str, Any]] = {
    "verify": {"full": True},
    "plan": {"ssh": "x" * 200},
    "reload": {"accept": "0a" * 32, "ssh": "", "confirm_within": 10, "why": "CHG-1"},
    "explain": {"addresses": ["1.1.1.1"] * 256, "at": 1.5, "details": True},
    "history": {"count": 1},
    "history_verify": {"heads": ["0" * 12] * 500},
    "history_coverage": {"since": 1.5},
    "unload": {"why": "x" * MAX_WHY},
    "resume": {"why": ""},
    "confirm": {"digest": "0" * 12, "why": ""},
    "pause": {"until": FOREVER, "why": "x" * MAX_WHY},
    "exempt": {"source": "192.0.2.1", "seconds": 60, "why": ""},
    "exempt_end": {"source": "192.0.2.1", "why": ""},
    "rollback": {"back": 1, "generation": None, "why": ""},
}

NEVER: list[object] = [
    float("nan"),
    float("inf"),
    -float("inf"),
    -1,
    10**30,
    "x" * (MAX_WHY + 1),
    {},
    [1],
    ["x" * 101],
    [None],
]
"""Values that no argument may have."""

WRONG: dict[tuple[str, str], list[object]] = {
    ("verify", "full"): [None, 0, 1, "yes"],
    ("explain", "addresses"): [None, "1.1.1.1", ["1.1.1.1"] * 257],
    ("explain", "details"): [0, "yes", 1],
    ("explain", "at"): ["now", True, 1e308, -1e12],
    ("plan", "ssh"): [None, 5, "x" * 201],
    ("reload", "ssh"): [None, 5, "x" * 201],
    ("reload", "accept"): [None, 5, "0" * 11, "0" * 65, "x" * 12, "A" * 12],
    ("history", "count"): [None, 0, -5, True, 1.0, 1 << 31],
    ("history_verify", "heads"): [None, "0" * 12, ["0" * 11], ["A" * 12], ["0" * 12] * 501],
    ("history_coverage", "since"): ["now", True, 1e308, -1e12],
    ("unload", "why"): [None, 5],
    ("resume", "why"): [None, 5],
    ("reload", "confirm_within"): [0, 9, 86_401, True, "1m"],
    ("reload", "why"): [None, 5],
    ("confirm", "digest"): [None, "abc", "A" * 12, "a" * 65, 5],
    ("confirm", "why"): [None, 5],
    ("pause", "until"): [None, 0, True, 1.5, FOREVER + 1, 30_000_000_000],
    ("pause", "why"): [None, 5],
    ("exempt", "source"): [None, 5, "x" * 101],
    ("exempt", "seconds"): [None, 0, True, 1.5, 1 << 31],
    ("exempt", "why"): [None, 5],
    ("exempt_end", "source"): [None, 5, "x" * 101],
    ("exempt_end", "why"): [None, 5],
    ("rollback", "back"): [None, 0, True, 1.0],
    ("rollback", "generation"): [0, True, 1 << 60],
    ("rollback", "why"): [None, 5],
}


def test_every_verb_is_here() -> None:
    """A new argument has to be added to the lists above."""
    assert {(verb, name) for verb, one in VERBS.items() for name in one.arguments} == WRONG.keys()
    assert {verb for verb, one in VERBS.items() if one.arguments} == GOOD.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_in_range_is_taken(verb: str) -> None:
    """Values are passed on as given; an optional argument has a default."""
    good = GOOD.get(verb, {})
    assert checked(verb, VERBS[verb].arguments, good) == good
    optional = {"why", "at", "details", "since", "generation", "ssh", "accept", "confirm_within", "digest"}
    short = {name: value for name, value in good.items() if name not in optional}
    assert checked(verb, VERBS[verb].arguments, short).keys() == good.keys()


@pytest.mark.parametrize(("verb", "name"), WRONG)
def test_what_is_not_is_refused(verb: str, name: str) -> None:
    """The refusal names the verb, the argument and its range (2)."""
    for value in [*WRONG[verb, name], *NEVER]:
        if name in {"at", "since"} and value == -1:
            continue  # -1 is the last second of 1969
        with pytest.raises(UsageError, match=f"{verb}: `{name}` has to be .+"):
            checked(verb, VERBS[verb].arguments, {**GOOD[verb], name: value})


def test_a_missing_or_unknown_argument_is_refused() -> None:
    """An unknown or missing argument comes from another version or from a hostile client."""
    with pytest.raises(UsageError, match="verify: `full` has to be"):
        checked("verify", VERBS["verify"].arguments, {})
    with pytest.raises(UsageError, match="status takes no `full`"):
        checked("status", VERBS["status"].arguments, {"full": True})


def test_an_argument_may_be_left_out_only_with_a_default() -> None:
    """An argument without a default is required."""
    with pytest.raises(UsageError):
        checked("x", {"a": Argument("a flag", lambda value: value is True)}, {})
