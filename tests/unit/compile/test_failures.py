# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from geodrop.compile.failures import collecting, say
from geodrop.document.problems import Position, Problem
from geodrop.errors import DataError, GeodropError, PolicyError


def test_all_are_found_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure ends only its own step; the policy's problems come first and give the exit code."""
    failures: list[GeodropError] = []
    for failure in (
        DataError("x.mmdb: cut off", "copy it again"),
        PolicyError([Problem(Position("p", 1, 1), "bad; no")]),
    ):
        with collecting(failures):
            raise failure
    assert say(failures, as_json=True) == 78
    said = capsys.readouterr()
    assert said.err == "p:1:1: error: bad; no\ngeodrop: error: x.mmdb: cut off; copy it again\n"
    assert [one["error"] for one in json.loads(said.out)["problems"]] == ["bad", "x.mmdb: cut off"]


def test_a_bug_is_none_of_them() -> None:
    """An exception that is not a GeodropError is not collected."""
    with pytest.raises(ZeroDivisionError), collecting([]):
        raise ZeroDivisionError
