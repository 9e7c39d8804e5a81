# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.cli import doctor, explain, history, status, verify
from geodrop.doctor.finding import Finding
from geodrop.text import MARGIN, harmless, lines, shown

if TYPE_CHECKING:
    from collections.abc import Callable

BAD = [chr(number) for number in range(0x110000) if unicodedata.category(chr(number)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
"""Every control character, format character (such as changes of direction), surrogate and line separator."""


def test_nothing_that_steers_a_terminal_is_left() -> None:
    """All of these characters in Unicode are escaped, and the result can be encoded."""
    assert {"\x1b", "\x9b", "\r", "\x7f", "\u202e", "\u2066", "\u200f", "\u2028", "\ud800"} <= set(BAD)
    for character in BAD:
        found = harmless(f"a{character}b")
        assert found.isprintable()
        assert found.encode("utf-8").startswith(b"a\\")


def test_what_is_printable_stays() -> None:
    """Printable text in any script is unchanged, and so is a backslash."""
    for text in ("", "INC-4711: paused", "Zürich, Київ, 東京", "C:\\x1b", "🙂"):
        assert harmless(text) == lines(text) == shown(text) == text


def test_lines() -> None:
    """Line breaks and tabs are kept, and a margin shows that a line belongs to the text."""
    assert lines("a\tb\r\n\x1b[2Kc") == "a\tb\\r\n\\x1b[2Kc"
    assert lines("a\nb", MARGIN) == f"a\n{MARGIN}b"


def test_shown() -> None:
    """Every text in an object is escaped, however deep; numbers and keys are unchanged."""
    given = {"why": ["x\x1b", ("y\ny", 1)], "problems": ["a\nb\r"], "b": {"c": "\u202e", "d": None, "e": True}}
    assert shown(given) == {
        "why": ["x\\x1b", ("y\\ny", 1)],
        "problems": [f"a\n{MARGIN}b\\r"],
        "b": {"c": "\\u202e", "d": None, "e": True},
    }


@pytest.mark.parametrize("text", ["", "\n", "\n\n"])
def test_empty_lines(text: str) -> None:
    """Empty lines are kept."""
    assert lines(text) == text


FAKE = "  service     fake: enforce"
POISON = f"\x1b]0;title\a\x1b[2K\r\u202e\n{FAKE}"

STATUS = {
    "state": "enforcing",
    "judged": [],
    **dict.fromkeys(("enforcing", "healthy", "paused", "rolled_back", "daemon"), True),
    "generation": 7,
    "confirm": {"digest": "ab", "generation": 7, "previous": 6, "deadline": "then", "seconds_left": 60},
    "undone": None,
    "repaired": 1,
    "unloaded": False,
    "digest": "ab",
    "last_good": "ab",
    "paused_until": "",
    "paused_why": "why",
    "problems": ["problem"],
    "interfaces": [{"name": "eth0", "engine": "xdp", "attach": "generic", "why": "why"}],
    "services": [
        {"name": "api", "effective": "enforce", "starts": "then", "counted_as_other": 0, "share": 1.0, "ramp": None}
    ],
    "since": "then",
    "change": {"origin": "reload", "seconds": 1.0},
    "policy": {"name": "policy.yaml", "sha256": "ab"},
    "databases": [
        {
            "name": "country.mmdb",
            "type": "Country",
            "sha256": "ef" * 32,
            "built": 1,
            "roles": [{"name": "asn", "ipv4": 1}],
        }
    ],
    "dropped": {"packets": 1, "seconds": 60},
    "last_reload": {"time": "then", "good": True, "text": "text"},
    "repairs": [{"time": "then", "what": "what", "culprit": "comm"}],
    "last_failure": {"origin": "reload", "time": "then", "error": "error"},
    "exemptions": [{"source": "1.2.3.4/32", "until": "then", "in_force": True}],
}
ENTRY = {
    "time": "then",
    "origin": "load",
    "outcome": "failed",
    "generation": 7,
    "digest": "ab",
    "uid": 0,
    "sudo_user": None,
    "seconds": 1.0,
    "target": None,
    "paused_until": None,
    "confirm": "then",
    "error": "error",
    "change": "change",
    "why": "why",
    "accept": "ab",
    "until": "then",
}
ANSWER = {
    "asked": "[::1]:443",
    "address": "::1",
    "addresses": 1,
    "about": "address",
    "service": "api",
    "zone": 1,
    "region": "US",
    "rung": "country",
    "line": "US",
    "place": "policy.yaml:3",
    "starts": "then",
    "mode": "enforce",
    **dict.fromkeys(("bucket", "share", "dropped_from")),
    "exempted": {"source": "::1", "until": "then", "user": "alice", "why": "why"},
    "would_drop": True,
    "verdict": "drop",
    "embedded": "1.1.1.1",
    "record": "what a database says",
    "correction": {"place": "policy.yaml:5", "was": ["CN"]},
    "in_force": {"generation": 6, "digest": "ab", "from": "then", "until": "then"},
    "since": {"time": "then", "generation": 5, "at_least": False},
    "counted_as": "list:x",
    "drawn": [{"list": "x", "what": "AS1", "database": "asn.mmdb"}],
    "counters": [
        {"family": "ipv6", "list": "x", "dropped": {"packets": 2}, "would_drop": {"packets": 1}},
    ],
    "kernel": {"generation": 7, "verdict": "drop", "would_drop": True, "where": "chain", "target": "chain"},
}
DIFFERENT = {"agrees": False, "differences": [{"where": "where", "expected": "expected", "found": "found"}]}
AGREES = {"agrees": True, "sample": None, "digest": "ab", "generation": 7}


def poisoned(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return an object in which every text, except a few fixed words, has control characters and forged lines."""
    if isinstance(value, dict):
        return {name: one if name == "state" else poisoned(one) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    return value + POISON if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("describe", "value"),
    [
        (status.describe, STATUS),
        (status.describe, {**STATUS, "state": "not enforcing"}),
        (history.describe, ENTRY),
        (lambda answer: "\n".join(explain.describe([answer], several=True, verbose=True)), ANSWER),
        (verify.describe, DIFFERENT),
        (verify.describe, AGREES),
        (
            lambda finding: doctor.describe(Finding(status="ok", **finding)),
            {"name": "x", "found": "y", "cost": "z", "next_step": "w"},
        ),
    ],
)
def test_what_verbs_say(describe: Callable[[Any], str], value: Any) -> None:  # noqa: ANN401 - as above
    """No text in an object can control the terminal, or begin a line as if it were the verb's own."""
    good = describe(value).split("\n")
    found = describe(poisoned(value)).split("\n")
    assert all(line.isprintable() for line in found)
    assert not any(line.startswith(FAKE) for line in found)
    assert len([line for line in found if not line.startswith(MARGIN)]) == len(good)
