# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from geodrop.cli.exempt import describe
from geodrop.cli.main import main

NOW = datetime.fromisoformat("2027-01-15T14:05:00Z").timestamp()
ONE: dict[str, Any] = {
    "source": "81.2.69.142/32",
    "until": "2027-01-15T16:05:12Z",
    "in_force": True,
    "held_back": False,
    "packets": 1204,
    "user": "alice",
    "why": "CASE-7",
}


def test_a_line_of_the_list() -> None:
    """Source, end, packets, who and why; the day only where it is not clear."""
    assert describe(ONE, NOW).split() == [
        *("81.2.69.142/32", "until", "16:05:12Z", "1,204", "packets", "alice", "CASE-7"),
    ]
    assert "until 2027-01-20T00:00:00Z" in describe({**ONE, "until": "2027-01-20T00:00:00Z"}, NOW)
    assert "not in force" in describe({**ONE, "in_force": False}, NOW)
    assert "held back" in describe({**ONE, "in_force": False, "held_back": True}, NOW)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--end"], "no address is given"),
        (["--for", "2h"], "no address is given"),
        (["1.2.3.4"], "an address needs --for TIME, or --end"),
        (["1.2.3.4", "--for", "2h", "--end"], "an address needs --for TIME, or --end"),
        (["1.2.3.4", "--for", "2h", "--json"], "--json only goes with the list of all"),
        (["1.2.3.4", "--for", "soon"], "is not a duration"),
        (["1.2.3.4", "--for", "0h"], "is not a duration"),
    ],
)
def test_wrong_arguments(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """2, with what is missing."""
    try:
        code = main(["exempt", *arguments])
    except SystemExit as error:  # argparse itself
        code = int(str(error.code))
    assert (code, told in capsys.readouterr().err) == (2, True)
