# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from geodrop.engine.api import Interface, Observed
from geodrop.operations.outcome import Outcome

BEFORE = Observed(1, "ab" * 32, (Interface("eth0", "nftables"),))


@pytest.mark.parametrize(
    "after",
    [
        Observed(2, BEFORE.digest, BEFORE.interfaces),
        Observed(1, "cd" * 32, BEFORE.interfaces),
        Observed(1, BEFORE.digest, (Interface("eth0", "xdp"),)),
        Observed(),
    ],
    ids=["generation", "ruleset", "engine", "nothing"],
)
def test_whatever_differs_is_a_change(after: Observed) -> None:
    """Another generation, ruleset or engine, or nothing in force, is a change."""
    assert Outcome(BEFORE, after).changed
    assert not Outcome(after, after).changed
