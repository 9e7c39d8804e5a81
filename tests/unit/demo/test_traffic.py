# SPDX-License-Identifier: Apache-2.0
"""Which requests count as answered, as wrong, or as neither."""

from __future__ import annotations

import io
import json

import pytest

from geodrop.demo.clients import ClientRequest
from geodrop.demo.network import Namespace
from geodrop.demo.traffic import Period, Traffic, across, answered, strip
from geodrop.errors import ApplyError

HERE, THERE = "192.0.2.1", "192.0.2.2"
BEFORE = Period(0.0, 0.0, 10.0, {HERE: "accept", THERE: "accept"})
AFTER = Period(10.0, 10.5, 20.0, {HERE: "accept", THERE: "drop"})


def served(source: str, began: float, seconds: float = 0.01) -> ClientRequest:
    """An answered request."""
    return ClientRequest(source, began, began + seconds, "200")


def lost(source: str, began: float) -> ClientRequest:
    """A request that was not answered."""
    return ClientRequest(source, began, began + 0.9, "no answer")


def test_a_period_sees_only_what_began_and_ended_in_it() -> None:
    """A request during a load belongs to neither policy."""
    inside, early, late = served(HERE, 11), served(HERE, 10.4), lost(HERE, 19.5)
    assert AFTER.within([inside, early, late]) == [inside]


@pytest.mark.parametrize(
    "request_",
    [
        lost(HERE, 11),
        served(THERE, 11),
        ClientRequest(HERE, 11, 12, "Network is unreachable"),
        ClientRequest(HERE, 11, 12, "500"),
    ],
    ids=["dropped though accepted", "answered though denied", "unreachable", "not what the server says"],
)
def test_whatever_is_not_the_verdict_is_wrong(request_: ClientRequest) -> None:
    """Every kind of wrong outcome is found; an error is never taken for a drop."""
    assert AFTER.wrong([served(HERE, 12), lost(THERE, 12), request_]) == [request_]


def test_a_verdict_that_stays_holds_across_the_load() -> None:
    """For a source whose verdict stays, every moment counts; for one that changes, the load does not."""
    gap = lost(HERE, 10.2)
    assert across(BEFORE, AFTER).wrong([gap, lost(THERE, 10.2), served(THERE, 10.2)]) == [gap]


def test_answered_counts_one_source() -> None:
    """Count the answered and all requests of a source."""
    assert answered([served(HERE, 1), lost(HERE, 2), served(THERE, 3)], HERE) == (1, 2)


def test_a_strip_shows_each_request_in_order() -> None:
    """One sign per request of the source that began in the span, ordered by when it began."""
    requests = [served(HERE, 0.95), lost(HERE, 1.1), served(HERE, 1.2), served(HERE, 1.0), served(THERE, 1.1)]
    assert strip([*requests, served(HERE, 1.4)], HERE, 1.0, 1.4) == "#.#"


def test_gathers_what_the_clients_say_until_they_end() -> None:
    """The sources are passed in one line; an ended client process is an error, not silence."""
    given = io.StringIO()
    one = served(HERE, 1.0)
    said = io.StringIO(json.dumps({"source": HERE, "began": 1.0, "ended": 1.01, "outcome": "200"}) + "\n")
    traffic = Traffic(Namespace(0, given, said), [HERE, THERE])
    assert json.loads(given.getvalue()) == [HERE, THERE]
    traffic._reader.join()
    assert traffic.seen == [one]
    with pytest.raises(ApplyError, match="ended early"):
        traffic.requests()
