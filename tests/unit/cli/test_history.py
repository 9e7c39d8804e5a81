# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.cli.history import describe
from geodrop.report.history import as_object
from geodrop.state.entry import DONE, FAILED, Entry
from geodrop.state.intent import FOREVER


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        (Entry(0.0, "load", DONE, 0, 1, "ab" * 32, 0.214), ["1970-01-01T00:00:00Z", " 1 ", "abababababab ", "0.21 s"]),
        (
            Entry(0.0, "reload", FAILED, 12, error="no such file", why="x"),
            ["reload", " 12 ", "failed: no such file; x"],
        ),
        (Entry(0.0, "rollback", DONE, 0, 9, "a", target=7), ["back to generation 7"]),
        (Entry(0.0, "pause", DONE, 0, 9, "a", why="incident", paused=FOREVER), ["until resume; incident"]),
        (Entry(0.0, "pause", DONE, 0, 9, "a", paused=60), ["until 1970-01-01T00:01:00Z"]),
        (Entry(0.0, "load", DONE, 0, 9, "a", signed_by="alice", signed_key="SHA256:x"), ["signed by alice (SHA256:x)"]),
        (Entry(0.0, "unload", DONE, 0), ["unload    -           -"]),
    ],
)
def test_one_line(entry: Entry, parts: list[str]) -> None:
    """One line says what a person needs first."""
    line = describe(as_object(entry, None))
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_until_when_it_was_in_force() -> None:
    """The end is shown once it is no longer in force."""
    one: dict[str, Any] = as_object(Entry(0.0, "load", DONE, 0, 1, "a"), 60.0)
    assert describe(one).endswith("in force until 1970-01-01T00:01:00Z")
