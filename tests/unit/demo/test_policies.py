# SPDX-License-Identifier: Apache-2.0
"""The demo's policies are the published example and a real edit of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from geodrop.demo import policies

DEPLOYED = Path(__file__).parents[3] / "deploy" / "policies" / "ai-api-allow-list.yaml"


def test_the_first_policy_is_the_published_example() -> None:
    """The example in deploy/ and the one in the package have the same text."""
    assert policies.example() == DEPLOYED.read_text()


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (policies.example(), policies.edited(policies.example()), policies.edit()),
        (policies.edited(policies.example()), policies.mistaken(policies.example()), policies.mistake()),
    ],
    ids=["edit", "mistake"],
)
def test_the_edit_is_what_is_shown(before: str, after: str, shown: list[str]) -> None:
    """One policy differs from the one before only by the removed and the added lines, once each."""
    first, second = before.splitlines(), after.splitlines()
    removed = [line[1:] for line in shown if line.startswith("-")]
    added = [line[1:] for line in shown if line.startswith("+")]
    at = first.index(removed[0])
    assert removed
    assert added
    assert second == [*first[:at], *added, *first[at + len(removed) :]]
