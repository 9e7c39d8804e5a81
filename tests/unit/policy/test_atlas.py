# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import date

import pytest

from geodrop.document.problems import Position
from geodrop.policy.atlas import ATLAS, KINDS, members, nearest
from geodrop.policy.countries import COUNTRIES
from geodrop.policy.lines import parse_line
from geodrop.policy.territories import TERRITORIES

PLACE = Position("p", 7, 3)


def test_every_entry_can_be_written_and_has_a_day_and_a_source() -> None:
    """A policy can name each entry that databases tell apart; each says whose state it has, of which day."""
    for text, known in ATLAS.items():
        assert text == known.text
        assert known.title
        assert known.source
        assert date(2000, 1, 1) < date.fromisoformat(known.as_of) < date(2100, 1, 1)
        if known.parts:
            assert parse_line(text, PLACE).kind in KINDS
        assert all(code.partition("-")[0] in COUNTRIES for code in known.codes)
        assert set(known.territories) <= TERRITORIES.keys()


@pytest.mark.parametrize(
    ("text", "holds", "lacks"),
    [
        ("atlas:eu", "DE FR CY AX RE GF", "GB NO CH GL PF XK TR"),
        ("atlas:eea", "DE AX NO IS LI", "CH SJ GB"),
        ("atlas:five-eyes", "US GB CA AU NZ", "PR FR"),
        ("atlas:g7", "US GB CA FR DE IT JP", "RU CN"),
        ("atlas:ofac-comprehensive", "CU IR KP UA-43 UA-40 UA-14 UA-09 RU-CR", "UA SY RU UA-65 UA-23"),
        ("territory:hong-kong", "HK CN-HK", "CN"),
    ],
)
def test_who_is_in(text: str, holds: str, lacks: str) -> None:
    """The members that people ask about first, and those that are taken for members."""
    assert set(holds.split()) <= set(ATLAS[text].codes)
    assert not set(lacks.split()) & set(ATLAS[text].codes)


def test_numbers_of_members() -> None:
    """27 members of the European Union with 7 parts that have codes of their own; three more in the EEA."""
    assert len(ATLAS["atlas:eu"].codes) == 27 + 7
    assert len(ATLAS["atlas:eea"].codes) == 27 + 7 + 3


def test_members_are_lines_at_the_same_place() -> None:
    """So that what is said about a code is said at the line that leads to it."""
    found = [*members(parse_line("territory:puerto-rico", PLACE))]
    assert [(line.kind, line.name, line.place) for line in found] == [
        ("country", "PR", PLACE),
        ("subdivision", "US-PR", PLACE),
    ]


@pytest.mark.parametrize(
    ("text", "step"),
    [("crimeaa", "write territory:crimea"), ("de", "write DE"), ("germany", "write DE"), ("x" * 1_000, "geodrop regi")],
)
def test_a_name_without_its_word(text: str, step: str) -> None:
    """`geodrop regions` takes names alone, and says what was meant."""
    assert nearest(text).startswith(step)
