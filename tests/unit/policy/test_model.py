# SPDX-License-Identifier: Apache-2.0
from dataclasses import FrozenInstanceError
from ipaddress import ip_network

import pytest

from geodrop.policy.ladder import Decision
from geodrop.policy.model import LineKind, Match, Ports, Rung, Verdict


@pytest.mark.parametrize(
    ("match", "catch_all"),
    [
        (Match(Ports()), True),
        (Match(Ports(tcp=((22, 22),))), False),
        (Match(Ports(udp=((53, 53),))), False),
        (Match(Ports(), protocols=(1,)), False),
        (Match(Ports(), addresses=(ip_network("9.9.9.9"),)), False),
    ],
)
def test_catch_all_is_nothing_at_all(match: Match, catch_all: bool) -> None:  # noqa: FBT001 - a table's column
    """A service with any limit in its match is no catch-all."""
    assert match.catch_all is catch_all


def test_words_of_the_contract() -> None:
    """`explain` and counters print these words, and lines of regions have the rung of the same name."""
    words = ["never-drop", "prefix", "list", "special", "subdivision", "country", "continent", "unknown", "default"]
    assert [str(rung) for rung in Rung] == words
    assert [str(verdict) for verdict in Verdict] == ["accept", "drop"]
    for kind in (LineKind.SUBDIVISION, LineKind.COUNTRY, LineKind.CONTINENT):
        assert Rung(kind).value == kind.value


def test_the_model_is_frozen() -> None:
    """The model cannot be changed after it was checked."""
    decision = Decision(Verdict.DROP, Rung.COUNTRY, "CN")
    with pytest.raises(FrozenInstanceError):
        decision.verdict = Verdict.ACCEPT  # type: ignore[misc]
