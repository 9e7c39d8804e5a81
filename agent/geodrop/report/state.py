# SPDX-License-Identifier: Apache-2.0
"""The one place that decides whether geodrop enforces: from facts to the first word of `status`. Pure.

Exit code, JSON, metrics and alerts all follow from it (docs/decisions/0024-what-enforcing-means.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError, NotEnforcingError
from geodrop.ruleset.explain import effective_mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.ruleset.model import ServiceSpec


class State(StrEnum):
    """The first word of `status`."""

    ENFORCING = "enforcing"
    DEGRADED = "enforcing, but degraded"
    PAUSED = "paused"
    MONITORING = "monitoring"
    NOT_ENFORCING = "not enforcing"

    @property
    def enforcing(self) -> bool:
        """Whether a packet from a denied region that arrives now is dropped."""
        return self in {State.ENFORCING, State.DEGRADED}


@dataclass(frozen=True, slots=True)
class Facts:
    """Independent facts, as read.

    `in_force`: the kernel leads packets to a generation. `reached`: at least one present interface is judged. `asked`:
    by mode and start, pauses aside, some service should drop now. `leaks`: there are sources to be dropped, and the
    kernel drops none of them. `problems`: something is not as it should be.
    """

    in_force: bool
    reached: bool
    asked: bool
    paused: bool
    leaks: bool
    problems: bool


def state_of(facts: Facts) -> State:
    """Return the state; what would let a denied packet pass decides first."""
    if not facts.in_force or not facts.reached:
        return State.NOT_ENFORCING
    if facts.paused:
        return State.PAUSED
    if not facts.asked:
        return State.MONITORING
    if facts.leaks:
        return State.NOT_ENFORCING
    return State.DEGRADED if facts.problems else State.ENFORCING


def asked_to_drop(services: Iterable[ServiceSpec], now: float) -> bool:
    """Whether the policy wants some service to drop at a moment, in seconds since the epoch; pauses are ignored."""
    return any(effective_mode(service, now) == "enforce" for service in services)


def exit_code(state: State, *, healthy: bool) -> int:
    """Return the exit code of `status`: 0 all as the policy asks; 3 a denied packet passes that should not; 1
    otherwise.
    """
    if state is State.NOT_ENFORCING:
        return NotEnforcingError.exit_code
    return 0 if healthy and state in {State.ENFORCING, State.MONITORING} else ApplyError.exit_code
