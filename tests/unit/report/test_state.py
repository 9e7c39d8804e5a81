# SPDX-License-Identifier: Apache-2.0
"""The word that `status` begins with, over every combination of facts."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from geodrop.report.state import Facts, State, asked_to_drop, exit_code, state_of
from geodrop.ruleset.model import ServiceSpec

EVERY = [Facts(*values) for values in itertools.product((False, True), repeat=len(fields(Facts)))]
GOOD = Facts(in_force=True, reached=True, asked=True, paused=False, leaks=False, problems=False)


def service(mode: str = "enforce", starts: int | None = None) -> ServiceSpec:
    """Return a service that takes every packet."""
    return ServiceSpec("api", mode, starts, "cut", catch_all=True, tcp=(), udp=(), protocols=(), addresses=())


@pytest.mark.parametrize("facts", EVERY, ids=str)
def test_every_combination(facts: Facts) -> None:
    """Each word appears exactly where its sentence in docs/commands.md is true, which this test states again."""
    judged = facts.in_force and facts.reached
    true = {
        State.NOT_ENFORCING: not judged or (facts.asked and facts.leaks and not facts.paused),
        State.PAUSED: judged and facts.paused,
        State.MONITORING: judged and not facts.paused and not facts.asked,
        State.DEGRADED: judged and facts.asked and not facts.paused and not facts.leaks and facts.problems,
        State.ENFORCING: judged and facts.asked and not facts.paused and not facts.leaks and not facts.problems,
    }
    assert [word for word, holds in true.items() if holds] == [state_of(facts)]


@pytest.mark.parametrize("facts", EVERY, ids=str)
def test_enforcing_is_never_said_of_what_lets_a_denied_packet_pass(facts: Facts) -> None:
    """Whatever else holds: nothing in force, no interface judged, a leak, a pause, or no service that drops."""
    passes = not facts.in_force or not facts.reached or facts.leaks or facts.paused or not facts.asked
    assert not (state_of(facts).enforcing and passes)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("healthy", [True, False])
def test_exit_codes(state: State, healthy: bool) -> None:  # noqa: FBT001 - a case
    """0 only if all is as asked, 3 only if a denied packet passes that should not."""
    code = exit_code(state, healthy=healthy)
    assert (code == 3) == (state is State.NOT_ENFORCING)
    assert (code == 0) == (healthy and state in {State.ENFORCING, State.MONITORING})
    assert code in {0, 1, 3}


def test_what_the_policy_asks_for() -> None:
    """One service that drops is enough; monitor mode and a future start ask for nothing yet."""
    assert asked_to_drop([service("monitor"), service()], 100.0)
    assert asked_to_drop([service(starts=100)], 100.0)
    assert not asked_to_drop([service(starts=101), service("monitor")], 100.0)
    assert not asked_to_drop([service("monitor", starts=1)], 100.0)
    assert not asked_to_drop([], 100.0)
