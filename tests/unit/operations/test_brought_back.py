# SPDX-License-Identifier: Apache-2.0
"""An earlier state of ours is told from a change that ended before it was written down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geodrop.engine.api import Observed
from geodrop.operations.brought_back import brought_back, is_ahead
from geodrop.state.intent import Intent
from geodrop.state.unconfirmed import Unconfirmed

OLD, NEW = "a" * 64, "b" * 64
ASKED = Intent(42, NEW, last_good=NEW)


@pytest.mark.parametrize("generation", [1, 41, 42])
def test_an_earlier_ruleset(generation: int) -> None:
    """A ruleset that a later change replaced is named, with what was asked for; also under the newest number."""
    found = brought_back(ASKED, Observed(generation, OLD))
    assert found is not None
    assert found.expected == f"ruleset {NEW[:12]}"
    assert found.found == f"ruleset {OLD[:12]} of generation {generation}"
    assert not found.surplus


@pytest.mark.parametrize("digest", [OLD, NEW, ""])
def test_after_an_unload_nothing_should_be_there(digest: str) -> None:
    """Whatever ruleset was removed is not to be there again."""
    assert brought_back(replace(ASKED, unloaded=True), Observed(42, digest))


@pytest.mark.parametrize(
    ("intent", "observed"),
    [
        (ASKED, Observed()),
        (ASKED, Observed(42, NEW)),
        (ASKED, Observed(41, NEW)),
        (ASKED, Observed(43, OLD)),
        (replace(ASKED, begun=42, digest=OLD), Observed(42, NEW)),
        (replace(ASKED, unloaded=True), Observed(43, NEW)),
        (replace(ASKED, unloaded=True, begun=42), Observed(42, NEW)),
        (replace(ASKED, unloaded=True), Observed()),
        (replace(ASKED, unknown="damaged"), Observed(1, OLD)),
        (replace(ASKED, confirm=Unconfirmed(42, 41, OLD)), Observed(41, OLD)),
        (ASKED, Observed(42, "")),
        (Intent(), Observed(1, OLD)),
    ],
)
def test_what_counts(intent: Intent, observed: Observed) -> None:
    """What was asked for, what is newer than all that is known as finished, and what the intent says nothing of."""
    assert brought_back(intent, observed) is None


def test_ahead_is_what_may_not_be_written_yet() -> None:
    """The number of a change without a known end counts as newer; the one of a finished change does not."""
    assert is_ahead(ASKED, 43)
    assert is_ahead(replace(ASKED, begun=42), 42)
    assert not is_ahead(ASKED, 42)
    assert not is_ahead(ASKED, 0)
