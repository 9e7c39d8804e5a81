# SPDX-License-Identifier: Apache-2.0
"""What the demo prints fits 80 columns and says what was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.demo import screen
from geodrop.demo.clients import ClientRequest
from geodrop.demo.sources import Client
from geodrop.demo.traffic import Period

if TYPE_CHECKING:
    import pytest

CN4, CN6, HIDDEN = "36.255.255.255", "240f:ffff::1", "2002:24ff:ffff::1"
CLIENTS = [Client("CN", {4: CN4, 6: CN6}), Client("CN 6to4", {6: HIDDEN})]
BEFORE = Period(0.0, 0.0, 4.0, {CN4: "accept", CN6: "accept", HIDDEN: "accept"})
AFTER = Period(4.0, 4.3, 6.3, {CN4: "drop", CN6: "drop", HIDDEN: "drop"})
SOURCES = (CN4, CN6, HIDDEN)
REQUESTS = [
    *(ClientRequest(source, n / 10 + 0.05, n / 10 + 0.06, "200") for source in SOURCES for n in range(41)),
    *(ClientRequest(source, n / 10 + 0.05, n / 10 + 0.95, "no answer") for source in SOURCES for n in range(43, 56)),
]


def test_connections(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per client: its verdict, and for each family its source and how many requests were answered."""
    screen.connections(CLIENTS, AFTER, REQUESTS)
    assert capsys.readouterr().out.splitlines() == [
        "  CLIENT   POLICY  IPv4 SOURCE      ANSWERED  IPv6 SOURCE           ANSWERED",
        "  CN       drop    36.255.255.255   0 of 11   240f:ffff::1          0 of 11",
        "  CN 6to4  drop    -                          2002:24ff:ffff::1     0 of 11",
    ]


def test_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per source shows before, during and after the load, but no request that may still be running."""
    screen.timeline(CLIENTS[:1], BEFORE, AFTER, REQUESTS, "load")
    title, first, second, _ = capsys.readouterr().out.splitlines()
    assert title == "  CLIENT         before      | load | after"
    assert first == "  CN IPv4        ########### | #    | ..........."
    assert second == first.replace("IPv4", "IPv6")


def test_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """One column per engine: how long its load took, and the requests after it; a wrong request is counted."""
    wrong = replace(AFTER, verdicts={**AFTER.verdicts, CN4: "accept"})
    screen.comparison({"nftables": AFTER, "xdp": wrong}, REQUESTS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines[:-1]] == [["nftables", "xdp"], ["0.30", "s"], ["33", "33"], ["0", "11"]]
    assert max(map(len, lines)) <= screen.WIDTH


def test_nothing_is_wider_than_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Paragraphs and the output of commands are folded; words are not cut."""
    screen.said("word " * 40)
    screen.command("geodrop status", "word " * 40 + "\nnext")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= screen.WIDTH
    assert set(" ".join(lines).split()) == {"word", "next", "$", "geodrop", "status"}


def test_colour_only_where_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no escape sequences."""
    screen.heading("Act")
    screen.edit(["-    old", "+    new"])
    assert capsys.readouterr().out == "\nAct\n    -    old\n    +    new\n"
