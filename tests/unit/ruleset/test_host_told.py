# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.ruleset.explained import told
from tests.unit.ruleset.test_explained import ANSWER

SINCE = {"time": "2026-03-02T02:10:11Z", "generation": 41, "at_least": False}


def counter(packets: int = 1_204, would_drop: int = 0, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - of a counter
    """Return an object of `counters --json`."""
    amounts = {"dropped": {"packets": packets, "bytes": 0}, "would_drop": {"packets": would_drop, "bytes": 0}}
    return {"family": "ipv4", "region": "CN", **amounts, **changed}


def lines(*changed: dict[str, Any]) -> list[str]:
    """Return the lines that follow the verdict and what to change."""
    answers = [ANSWER | {"counted_as": "CN", "since": None, "counters": []} | one for one in changed]
    return [line for line in told(answers, several=False) if line.split()[0] in {"then", "since", "count"}]


@pytest.mark.parametrize(
    ("counters", "line"),
    [
        ([counter()], "count   CN to api: 1,204 packets dropped"),
        ([counter(), counter(6, family="ipv6")], "count   CN to api: 1,210 packets dropped"),
        ([counter(0, 33)], "count   CN to api: 0 packets dropped, 33 only counted"),
        ([counter(region="other")], "count   CN to api: 1,204 packets dropped as `other`, CN among them"),
    ],
)
def test_packets(counters: list[dict[str, Any]], line: str) -> None:
    """How many packets the line that decides has dropped, in the families that the question is about."""
    assert lines({"counters": counters}) == [line]


def test_a_counter_is_added_once() -> None:
    """Parts of one region share their counters."""
    assert lines({"counters": [counter()]}, {"counters": [counter()]}) == ["count   CN to api: 1,204 packets dropped"]
    [_, line] = lines(
        {"counters": [counter()]}, {"counted_as": "list:x", "counters": [counter(5, region=None, list="x")]}
    )
    assert line == "count   list:x to api: 5 packets dropped"


def test_since() -> None:
    """Services that judge alike since the same moment share a line; otherwise each line names its services."""
    assert lines({"since": SINCE}, {"service": "web", "since": SINCE}) == [
        "since   2026-03-02T02:10:11Z, generation 41"
    ]
    other = SINCE | {"generation": 7, "at_least": True}
    assert lines({"since": SINCE}, {"service": "web", "since": other}) == [
        "since   2026-03-02T02:10:11Z, generation 41: api",
        "since   at least 2026-03-02T02:10:11Z, generation 7: web",
    ]


def test_then() -> None:
    """The generation that was in force at the time asked for comes with its time."""
    then = {"generation": 40, "digest": "9a41c07be212" + "0" * 52, "from": "2026-03-01T00:00:00Z", "until": None}
    assert lines({"in_force": then}) == ["then    generation 40 (ruleset 9a41c07be212) since 2026-03-01T00:00:00Z"]
    [line] = lines({"in_force": then | {"until": "2026-03-02T02:10:11Z"}})
    assert line.endswith("was in force from 2026-03-01T00:00:00Z until 2026-03-02T02:10:11Z")
