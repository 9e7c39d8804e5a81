# SPDX-License-Identifier: Apache-2.0
"""Which clients the demo shows, and that the demo fails if a request's outcome differs from the verdict."""

from __future__ import annotations

import pytest

from geodrop.demo.clients import ClientRequest
from geodrop.demo.sources import Client
from geodrop.demo.story import agree, worth_showing
from geodrop.demo.traffic import Period
from geodrop.errors import ApplyError

CLIENTS = [Client(label, {4: label}) for label in ("in1", "in2", "out1", "out2", "leaves", "joins")]
FIRST = {"in1": "accept", "in2": "accept", "out1": "drop", "out2": "drop", "leaves": "accept", "joins": "drop"}
BEFORE = Period(0, 0, 10, FIRST)
AFTER = Period(10, 11, 20, {**FIRST, "leaves": "drop", "joins": "accept"})
GOOD = [
    ClientRequest("in1", 1, 1.01, "200"),
    ClientRequest("out1", 1, 1.9, "no answer"),
    ClientRequest("leaves", 10.2, 11.1, "no answer"),
]


def test_shows_all_that_moved_and_one_of_each_that_stayed() -> None:
    """Clients whose verdict changes come first; of the others, one per verdict is shown."""
    assert [client.label for client in worth_showing(CLIENTS, BEFORE, AFTER)] == ["leaves", "joins", "in1", "out1"]


def test_agreement_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Outcomes that match the verdicts pass, as does any outcome of a changing client during its load."""
    agree(GOOD, [BEFORE, AFTER])
    assert "All 3 requests" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ClientRequest("out1", 2, 2.01, "200"),
        ClientRequest("in1", 10.2, 11.1, "no answer"),
        ClientRequest("leaves", 12, 12.01, "200"),
        ClientRequest("in2", 3, 3.01, "Network is unreachable"),
    ],
    ids=["leaked", "dropped while switching", "old policy after the switch", "broken network"],
)
def test_a_request_that_went_otherwise_fails_the_demo(wrong: ClientRequest) -> None:
    """The error names the request, and the demo does not claim success."""
    with pytest.raises(ApplyError, match=rf"1 requests? .*(?s:.*){wrong.source}"):
        agree([*GOOD, wrong], [BEFORE, AFTER])
